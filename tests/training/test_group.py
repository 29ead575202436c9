"""Final trainings that Ray Train's workers share, on a cluster of two nodes with a core each."""

import os
import random
import time
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
from reconv.training.seeds import train_seeds
from reconv.training.side_by_side import Trained

pytestmark = [pytest.mark.ray, pytest.mark.slow]
EPOCHS = 30
# Dropout would draw other masks; what is left is the order in which floats are added.
SAME = {"models.cnn.dropout": 0.0, "recipe.optimizer": "adamw", "recipe.batch_size": 15}
TOLERANCE = 1e-5  # of weights of about 0.1
# Of each kill: RECONV_REPEAT=50 looks for races, with random delays between what is killed and what is killed next.
REPEATS = int(os.environ.get("RECONV_REPEAT", "1"))


class Recorder:
    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.begun: list[tuple[int, str]] = []
        self.notes: list[str] = []

    def started(self, *_: object) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begins(self, key: str, after_epoch: int, worker: str) -> None:
        self.begun.append((after_epoch, worker))

    def epoch(self, key: str, epoch: int, metrics: Any) -> None:
        self.epochs.append(epoch)

    def finished(self, *_: object) -> None: ...

    def resumed(self, history: dict[str, dict[int, Any]], ended: object) -> None:
        self.epochs += history["seed-0"]


class Killer(Recorder):
    """Calls `kill` once, when the fifth epoch is over."""

    def __init__(self, kill: Callable[[Recorder], None]) -> None:
        super().__init__()
        self._kill = [kill]

    def epoch(self, key: str, epoch: int, metrics: Any) -> None:
        super().epoch(key, epoch, metrics)
        if epoch >= 5 and self._kill:
            self._kill.pop()(self)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


@pytest.fixture
def session(cluster: Any, params: Params, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    with ray_session(params.resources) as session:
        yield session


@pytest.fixture
def run(make_params: Callable[..., Params], prepared: PreparedData, session: Session) -> Callable[..., Trained]:
    """run(workers=(2, 2), observer, state): one seed, of thirty epochs."""
    jobs = jobs_for("cnn", make_params({**SAME, "train.num_seeds": 1, "train.max_epochs": EPOCHS}), [{}])

    def train(workers: tuple[int, int], observer: Recorder, state: str = "state") -> Trained:
        trained, _ = train_seeds(jobs, prepared, Path(state), replace(session, workers=workers), observer)
        return trained[0]

    return train


def difference(first: Trained, second: Trained) -> float:
    """The largest of any weight."""
    a, b = load(first.weights.read_bytes()), load(second.weights.read_bytes())
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


def processes(name: str) -> list[psutil.Process]:
    found = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # or a zombie
            if name in "".join(one.cmdline()):
                found.append(one)
    return found


def kill_a_rank_that_does_not_report(seen: Recorder) -> None:
    reporting = int(seen.begun[0][1].rsplit(" ", 1)[1])
    (other,) = [one for one in processes("RayTrainWorker") if one.pid != reporting]
    other.kill()


def kill_the_process_that_waits_for_the_group(_: Recorder) -> None:
    (waiting,) = processes("ray::train_in_group")
    waiting.kill()


def kill_both_while_the_group_starts_again(seen: Recorder) -> None:
    """The process that waits ends right after the group's controller asked for room for new workers."""
    before = rooms()
    kill_a_rank_that_does_not_report(seen)
    assert wait_until(lambda: bool(rooms() - before), pause=0.002)
    delay_at_random()
    kill_the_process_that_waits_for_the_group(seen)


def rooms() -> set[str]:
    """Placement groups that hold something."""
    import ray

    return {key for key, one in ray.util.placement_group_table().items() if one["state"] != "REMOVED"}


def wait_until(holds: Callable[[], bool], seconds: float = 60, pause: float = 0.1) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(pause)
    return holds()


def delay_at_random() -> None:
    if REPEATS > 1:
        delay = random.choice([0.0, random.uniform(0, 0.2), random.uniform(0, 6)])
        print(f" {delay:.3f} s", end="", flush=True)
        time.sleep(delay)


def interrupt(_: Recorder) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def of_one_worker() -> dict[str, Trained]:
    """The same training by one worker, once it is there."""
    return {}


@pytest.mark.parametrize(
    "kill",
    [
        kill_a_rank_that_does_not_report,
        kill_the_process_that_waits_for_the_group,
        kill_both_while_the_group_starts_again,
    ],
)
@pytest.mark.parametrize("repeat", range(REPEATS))
def test_two_workers_train_as_one_and_a_killed_one_costs_no_epoch(
    run: Callable[..., Trained],
    kill: Callable[[Recorder], None],
    repeat: int,
    of_one_worker: dict[str, Trained],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if not of_one_worker:
        of_one_worker["trained"] = run((1, 1), Recorder(), str(tmp_path_factory.mktemp("alone")))
    alone = of_one_worker["trained"]
    seen = Killer(kill)

    together = run((2, 2), seen)

    assert seen.epochs == [*range(1, EPOCHS + 1)]
    (first, worker), *_, (after, _) = seen.begun
    assert first == 0
    assert worker.startswith("2 workers, the first on ")
    assert 5 <= after < EPOCHS  # what was reported is not trained again
    assert difference(together, alone) < TOLERANCE
    assert together.curve[-1]["validation/loss"] == pytest.approx(alone.curve[-1]["validation/loss"], rel=1e-4)
    assert together.device_seconds == pytest.approx(2 * sum(row["speed/epoch_seconds"] for row in together.curve))
    assert wait_until(lambda: not rooms())  # nothing is left of any group


def test_one_worker_goes_on_where_two_were_interrupted(run: Callable[..., Trained]) -> None:
    with pytest.raises(KeyboardInterrupt):
        run((2, 2), Killer(interrupt))
    time.sleep(2)  # its workers are killed, not waited for
    seen = Recorder()

    resumed = run((1, 1), seen)

    assert sorted(set(seen.epochs)) == [*range(1, EPOCHS + 1)]
    assert {row.get("speed/workers", 1) for row in resumed.curve} == {1, 2}
    assert difference(resumed, run((1, 1), Recorder(), "alone")) < TOLERANCE


def test_more_workers_than_this_machine_has_room_for_are_refused(
    prepared: PreparedData, session: Session, params: Params
) -> None:
    small = replace(session, is_local=True, num_cpus=2, workers=(3, 4))

    with pytest.raises(TrainingError, match=r"resources\.train\.workers is 3, this machine has room for 2"):
        train_seeds(jobs_for("cnn", params, [{}] * params.train.num_seeds), prepared, Path("state"), small, Recorder())
