"""Final trainings that Ray Train's workers share, on real Ray sessions."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load

from reconv.data.arrays import PreparedData
from reconv.errors import TrainingError
from reconv.params import Params
from reconv.training.cluster import Session, ray_session
from reconv.training.job import jobs_for
from reconv.training.seeds import TrainedSeeds, train_seeds
from reconv.training.side_by_side import Trained

pytestmark = [pytest.mark.ray, pytest.mark.slow]
MakeParams = Callable[..., Params]
EPOCHS = 30
# All but dropout, whose masks are other ones: what is left is the order in which floats are added.
SAME = {"models.cnn.dropout": 0.0, "recipe.optimizer": "adamw", "recipe.batch_size": 15, "train.num_seeds": 1}


class Recorder:
    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.begun: list[tuple[int, str]] = []

    def started(self, *_: object) -> None: ...

    def begins(self, key: str, after_epoch: int, worker: str) -> None:
        self.begun.append((after_epoch, worker))

    def epoch(self, key: str, epoch: int, metrics: Any) -> None:
        self.epochs.append(epoch)

    def finished(self, *_: object) -> None: ...

    def resumed(self, *_: object) -> None: ...


class KillsAfterFive(Recorder):
    """Once, by `kill`."""

    def __init__(self, kill: Callable[[], None]) -> None:
        super().__init__()
        self._kill: list[Callable[[], None]] = [kill]

    def epoch(self, key: str, epoch: int, metrics: Any) -> None:
        super().epoch(key, epoch, metrics)
        if epoch >= 5 and self._kill:
            self._kill.pop()()


@pytest.fixture(scope="module")
def session(tiny_params: Params) -> Iterator[Session]:
    with ray_session(tiny_params.resources) as session:
        yield replace(session, workers=(2, 2))


def run(params: Params, prepared: PreparedData, session: Session, state: str, observer: Recorder) -> Trained:
    trained, _ = train_seeds(jobs_for("cnn", params, {}), prepared, Path(state), session, observer)
    return trained[0]


def difference(first: Trained, second: Trained) -> float:
    """The largest of any weight."""
    a, b = load(first.weights.read_bytes()), load(second.weights.read_bytes())
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


def ranks() -> list[psutil.Process]:
    return [one for one in psutil.Process().children(recursive=True) if "RayTrainWorker" in "".join(one.cmdline())]


def kill_a_rank_that_does_not_report() -> None: ...


def test_two_workers_train_as_one_and_a_killed_one_costs_no_epoch(
    make_params: MakeParams, prepared: PreparedData, session: Session
) -> None:
    params = make_params({**SAME, "train.max_epochs": EPOCHS})
    alone = run(params, prepared, replace(session, workers=(1, 1)), "alone", Recorder())

    class Killer(Recorder):
        def epoch(self, key: str, epoch: int, metrics: Any) -> None:
            super().epoch(key, epoch, metrics)
            if epoch >= 5 and len(self.begun) == 1:
                first = int(self.begun[0][1].rsplit(" ", 1)[1])
                for process in ranks():
                    if process.pid != first:
                        process.kill()

    seen = Killer()
    together = run(params, prepared, session, "together", seen)

    assert seen.epochs == [*range(1, EPOCHS + 1)]
    (_, first), (after, _) = seen.begun
    assert 5 <= after < EPOCHS
    assert first.startswith("2 workers")
    print(difference(together, alone))
    assert [row["speed/workers"] for row in together.curve] == [2] * EPOCHS
    seconds = sum(row["speed/epoch_seconds"] for row in together.curve)
    assert together.device_seconds == pytest.approx(2 * seconds)
    assert difference(together, alone) < 1e-5
