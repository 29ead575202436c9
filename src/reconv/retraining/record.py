"""What came of a retraining, for people, for scripts and for MLflow."""

import time
from pathlib import Path
from typing import Any, Literal

from reconv.artifacts import Artifact, Contest, PairedTest
from reconv.errors import ReconvError
from reconv.files import read_json, write_text
from reconv.params import Params
from reconv.places import LOGS, STATE
from reconv.tracking.notes import note_run

RECORDS = LOGS / "retrain"
_UNSENT = STATE / "retrain" / "unsent"
_BEGUN = STATE / "retrain" / "begun"

Ended = Literal["unchanged", "promoted", "kept", "would be promoted", "would be kept", "failed"]


class DataChange(Artifact):
    """Of the source's files, since they were last fetched."""

    added: int
    removed: int
    altered: int
    """Of the same name, with another content or label."""

    @property
    def text(self) -> str:
        counts = {"added": self.added, "removed": self.removed, "altered": self.altered}
        return ", ".join(f"{count:,} images {how}" for how, count in counts.items() if count)


class Changes(Artifact):
    """What there is to retrain for."""

    data: DataChange | None
    params: tuple[str, ...]
    """Keys of params.yaml."""
    code: tuple[str, ...]
    other: tuple[str, ...]
    """Outputs that are missing or were altered, stages that an earlier run did not come to."""

    @property
    def text(self) -> str:
        parts = [self.data.text] if self.data else []
        for what, names in (("parameters", self.params), ("code", self.code), ("to be made", self.other)):
            parts += [f"{what}: {', '.join(names)}"] if names else []
        return " · ".join(parts)


NOTHING_BUT_REGISTER = Changes(data=None, params=(), code=(), other=("register",))


class Drift(Artifact):
    """How one property of the new images differs from the champion's training images."""

    name: str
    effect: float
    """0: distributed alike, 1: nothing in common."""
    adjusted_p_value: float
    has_drifted: bool
    text: str


class Cost(Artifact):
    """Of the stages that ran."""

    device_seconds: float
    price: float
    currency: str


class RetrainRecord(Artifact):
    began: str
    """UTC."""
    seconds: float
    ended: Ended
    resumed: bool
    """An earlier one did not come to its end, and this one went on with it."""
    changes: Changes | None
    """None: nothing has changed."""
    stages: tuple[str, ...]
    """Those that ran."""
    drift: tuple[Drift, ...]
    verdict: str
    reason: str
    """Of the gate, or of the failure."""
    contest: Contest | None
    screen: PairedTest | None = None
    """On validation images."""
    champion_before: int | None
    champion_after: int | None
    cost: Cost | None
    git_commit: str
    note: str
    """What a person should do; mostly empty."""


class Draft:
    """Of a record: what is known so far."""

    def __init__(self, git_commit: str) -> None:
        self._clock = time.monotonic()  # the other one may be set meanwhile
        self._known: dict[str, Any] = {
            "began": _now(),
            "resumed": False,
            "changes": None,
            "stages": (),
            "drift": (),
            "verdict": "",
            "reason": "",
            "contest": None,
            "champion_before": None,
            "champion_after": None,
            "cost": None,
            "git_commit": git_commit,
            "note": "",
        }

    @property
    def resumed(self) -> bool:
        return bool(self._known["resumed"])

    def note(self, **values: Any) -> None:
        self._known |= values

    def keep(self, ended: Ended) -> RetrainRecord:
        """The record, in logs/retrain by now."""
        record = RetrainRecord(**self._known, seconds=time.monotonic() - self._clock, ended=ended)
        keep(record)
        return record


def begin() -> bool:
    """Mark that one has begun; whether an earlier one did not end."""
    resumed = _BEGUN.exists()
    write_text(_BEGUN, _now())
    return resumed


def keep(record: RetrainRecord) -> Path:
    """Write it to logs/retrain, and mark that this one has ended. A clock that was set back overwrites nothing."""
    last = RECORDS / "last.json"
    record.save(last)
    place = last
    if record.ended != "unchanged":
        stem = record.began.replace(":", "-")
        place = next(path for path in _names(stem) if not path.exists())
        record.save(place)
        write_text(_UNSENT / place.name, str(place))
    _BEGUN.unlink(missing_ok=True)
    return place


def send(params: Params) -> tuple[dict[str, str], str]:
    """Bring the records that MLflow does not have to it: name -> run, and why the rest has to wait."""
    sent: dict[str, str] = {}
    for mark in sorted(_UNSENT.glob("*.json")):
        path = RECORDS / mark.name
        if path.exists():
            try:
                sent[mark.name] = _send(path, params)
            except ReconvError as error:
                return sent, str(error).splitlines()[0]
        mark.unlink()
    return sent, ""


def _send(path: Path, params: Params) -> str:
    record = RetrainRecord.model_validate(read_json(path))
    metrics = {"retrain/seconds": record.seconds}
    if record.cost:
        metrics |= {"retrain/device_seconds": record.cost.device_seconds, "retrain/price": record.cost.price}
    if record.contest:
        metrics |= {
            "retrain/p_value": record.contest.p_value,
            "retrain/accuracy": record.contest.accuracy,
            "retrain/champion_accuracy": record.contest.champion_accuracy,
            "retrain/comparison": record.contest.number,
        }
    if record.screen:
        metrics["retrain/screen_p_value"] = record.screen.p_value
    metrics |= {f"drift/{one.name}": one.effect for one in record.drift}
    tags = {
        "reconv.retrain": record.ended,
        "mlflow.source.git.commit": record.git_commit,
        "champion_before": str(record.champion_before or ""),
        "champion_after": str(record.champion_after or ""),
    }
    return note_run(params, f"retrain {record.began}", describe(record), metrics, tags, path)


def describe(record: RetrainRecord) -> str:
    """In words."""
    lines = [f"**{record.ended}**: {record.reason}" if record.reason else f"**{record.ended}**"]
    if record.changes:
        lines.append(f"What changed: {record.changes.text}.")
    lines += [f"Drift: {one.text}." for one in record.drift if one.has_drifted]
    lines += [text for text in (record.verdict, record.note) if text]
    if record.cost:
        lines.append(
            f"{record.seconds:,.0f} s, {record.cost.device_seconds:,.0f} device seconds, "
            f"{record.cost.price:.2f} {record.cost.currency}; ran: {', '.join(record.stages) or 'nothing'}."
        )
    return "\n\n".join(lines)


def in_one_line(record: RetrainRecord) -> str:
    """For a schedule's log."""
    took = f"({record.seconds:,.1f} s)"
    if record.ended == "unchanged":
        return f"unchanged {took}"
    before = record.champion_before
    instead = f" instead of version {before}" if before else ""
    what = {
        "promoted": f"promoted: version {record.champion_after}{instead}",
        "kept": f"not promoted, version {before} stays champion" if before else "not promoted, there is no champion",
        "would be promoted": f"would be promoted{instead}",
        "would be kept": f"would not be promoted, version {before} would stay" if before else "would not be promoted",
        "failed": "failed",
    }[record.ended]
    note = f"\n{record.note}" if record.note else ""
    return f"{what}: {record.reason} {took}{note}"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _names(stem: str) -> "list[Path]":
    return [RECORDS / f"{stem}{suffix}.json" for suffix in ("", *(f"-{number}" for number in range(2, 1000)))]
