"""What a training keeps to go on from: its curve, and checkpoints whose names hold their digests, so that one that a
crash or a disk has torn is noticed. For workers.

The last two checkpoints are kept: what is torn costs one epoch more, not the training.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from reconv.files import AnyPath, local_copy, put, read_json, sha256_of_file, write_json
from reconv.training.job import EpochResult, SaveCheckpoint

_NUM_KEPT = 2


class Checkpoints:
    """Of the training `key`, in a folder or store that it shares with others: KEY.EPOCH.DIGEST.ckpt, KEY.curve.json."""

    def __init__(self, state: AnyPath, key: str) -> None:
        self._state = state
        self._key = key
        self._kept = self._found()
        self._torn: list[AnyPath] = []

    def save(self, result: EpochResult, save: SaveCheckpoint) -> None:
        """Complete or not at all; then what is older than the last two or torn is deleted."""
        # The curve goes first: where a checkpoint is, every epoch before it stands in the curve.
        row = {"epoch": result.epoch, **result.as_metrics()}
        before = [row for row in curve(self._state, self._key) if row["epoch"] < result.epoch]
        write_json(_curve_file(self._state, self._key), [*before, row])
        with TemporaryDirectory(prefix=".", dir=self._state if isinstance(self._state, Path) else None) as folder:
            written = Path(folder) / "written"
            save(written)
            path = self._state / f"{self._key}.{result.epoch:06d}.{sha256_of_file(written)}.ckpt"
            put(written, path)
        others = [other for other in self._kept if other != path]
        for other in (*others[_NUM_KEPT - 1 :], *(torn for torn in self._torn if torn != path)):
            other.unlink(missing_ok=True)
        self._kept, self._torn = [path, *others[: _NUM_KEPT - 1]], []

    @contextmanager
    def newest(self, notice: Callable[[str], None]) -> Iterator[Path | None]:
        """Yields a file of this machine: the newest that is as it was written, or None. `notice` is told of any that is
        not, which stays until the next is saved: other ranks may be reading it."""
        for path in [*self._kept]:
            with local_copy(path) as copy:
                if _is_intact(copy):
                    yield copy
                    return
            notice(_torn(str(path)))
            self._kept.remove(path)
            self._torn.append(path)
        yield None

    def delete(self) -> None:
        for path in (*self._kept, *self._torn, _curve_file(self._state, self._key)):
            path.unlink(missing_ok=True)

    def _found(self) -> list[AnyPath]:
        """The newest first."""
        name = re.compile(re.escape(self._key) + r"\.\d+\.[0-9a-f]{64}\.ckpt")
        there = self._state.iterdir() if self._state.exists() else ()  # a store has no empty folders
        found = [path for path in there if name.fullmatch(path.name)]
        return sorted(found, key=lambda path: path.name, reverse=True)


def curve(state: AnyPath, key: str) -> list[dict[str, float]]:
    """A row per epoch that was kept: `epoch` and the metrics by name. The last may have no checkpoint."""
    path = _curve_file(state, key)
    return read_json(path) if path.exists() else []


def epoch_of(checkpoint: Path) -> int:
    """After which it was written."""
    return int(checkpoint.name.split(".")[-3])


def _curve_file(state: AnyPath, key: str) -> AnyPath:
    return state / f"{key}.curve.json"


def _is_intact(path: Path) -> bool:
    return path.name.split(".")[-2] == sha256_of_file(path)


def _torn(place: str) -> str:
    """What a person reads of it."""
    return f"the checkpoint {place} is not as it was written, and is left out"
