"""Train a recorded trial or seed again, in this process, and compare every epoch. Called by `reconv reproduce`."""

import hashlib
import importlib.metadata
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from reconv.errors import ParamsError, RegistryError, TrainingError
from reconv.params import network_params
from reconv.reproducing.images import images_of
from reconv.resuming import code_digest
from reconv.tracking.trainings import Recorded
from reconv.training.fit import fit
from reconv.training.job import EpochResult, SaveCheckpoint, TrainingJob

ACCURACY_TOLERANCE = 0.005
"""Half a point, as much as another seed changes: with bfloat16 another order of adding changes that much
(docs/cluster.md)."""
Outcome = Literal["bit-equal", "within tolerance", "different"]


@dataclass(frozen=True)
class Reproduced:
    outcome: Outcome
    epochs: int
    first_difference: int | None
    """Epoch; None if all metrics are equal to the last digit."""
    largest_difference: float
    """Of an accuracy, over all epochs."""
    weights: Literal["equal", "different", "not kept"]
    remarks: tuple[str, ...]
    """What is not as it was then: a reason for differences, not an error."""


class _EnoughError(Exception):
    """All recorded epochs are trained."""


def reproduce(recorded: Recorded, progress: Callable[[int, int], None] = lambda *_: None) -> Reproduced:
    """`progress` is told epochs done and how many there are.

    Raises:
        RegistryError: it has no epochs.
        DataError: the images that it saw are not on this machine any more.
        ParamsError: its values are none of this version's.
    """
    job = job_of(recorded)
    if not recorded.curve:
        raise RegistryError(f"run {recorded.run_id} has no epoch that could be compared.")
    last = max(recorded.curve)
    curve: dict[int, Mapping[str, float]] = {}

    def on_epoch(result: EpochResult, _: SaveCheckpoint) -> None:
        curve[result.epoch] = result.as_metrics()
        progress(result.epoch, last)
        if result.epoch == last and last < job.epochs:
            raise _EnoughError

    torch.set_num_threads(recorded.common.threads)
    sha256 = ""
    with images_of(recorded.common.data_digest, recorded.prepared_md5) as data:
        try:
            trained = fit(job, data.manifest, data.train, data.validation, on_epoch)
            sha256 = hashlib.sha256(trained.weights).hexdigest()
        except (_EnoughError, TrainingError):  # the latter of one that diverged, as it did then
            pass
    return _compared(recorded, curve, sha256)


def job_of(recorded: Recorded) -> TrainingJob:
    """What it was asked for."""
    common = recorded.common
    recipe_names = type(common.recipe).model_fields
    recipe = {**common.recipe.model_dump(), **{k: v for k, v in recorded.values.items() if k in recipe_names}}
    network = {**common.network, **{k: v for k, v in recorded.values.items() if k not in recipe_names}}
    try:
        return TrainingJob(
            common.model,
            network_params(common.model, network),
            type(common.recipe).model_validate(recipe),
            common.augment,
            common.epochs,
            recorded.seed,
        )
    except (KeyError, ValueError) as error:
        raise ParamsError(f"run {recorded.run_id} has values that this version does not know: {error}") from None


def _compared(recorded: Recorded, curve: Mapping[int, Mapping[str, float]], sha256: str) -> Reproduced:
    first: int | None = None
    largest = 0.0
    for epoch, before in sorted(recorded.curve.items()):
        now = curve.get(epoch, {})
        if first is None and not all(_is_same(now.get(name), value) for name, value in before.items()):
            first = epoch
        for name in ("train/accuracy", "validation/accuracy"):
            if name in before:
                difference = abs(now.get(name, math.nan) - before[name])
                largest = max(largest, 1.0 if math.isnan(difference) else difference)
    known = bool(recorded.weights_sha256) and bool(sha256)
    weights: Literal["equal", "different", "not kept"] = "not kept"
    if known:
        weights = "equal" if sha256 == recorded.weights_sha256 else "different"
    is_equal = first is None and weights != "different"
    outcome: Outcome = "bit-equal" if is_equal else "within tolerance" if largest <= ACCURACY_TOLERANCE else "different"
    return Reproduced(outcome, len(recorded.curve), first, largest, weights, tuple(_remarks(recorded)))


def _is_same(now: float | None, before: float) -> bool:
    return now == before or (now is not None and math.isnan(now) and math.isnan(before))


def _remarks(recorded: Recorded) -> list[str]:
    common, remarks = recorded.common, []
    if common.code_digest != code_digest():
        remarks.append(
            "the code that trains has changed since; `git worktree add ../then "
            f"{recorded.git_commit[:12] or 'COMMIT'}` has that of then"
        )
    if common.torch != (version := importlib.metadata.version("torch")):
        remarks.append(f"torch was {common.torch}, is {version}")
    if common.workers > 1:
        remarks.append(f"{common.workers} workers shared it, whose sums are added in another order")
    if torch.cuda.is_available():
        remarks.append("on a GPU sums are added in any order")
    return remarks
