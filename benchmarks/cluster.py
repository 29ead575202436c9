"""A search on a Ray cluster of several nodes of this machine: what is lost to bookkeeping, and to a node that dies.

The trials sleep instead of training, since the nodes share two cores, and report an epoch with a checkpoint as real
ones do; trials, searcher, scheduler, saved state and MLflow's records are the pipeline's own.

- Efficiency: 32 trials of four seconds on one, two and four nodes of one core, against the seconds that they sleep.
- Bookkeeping: 1,000 trials of one second on 64 declared CPUs, as in Ray Tune's own published scalability test.
  Both are counted from the moment when as many trials have ended as run at once, since two cores take a minute to start
  64 workers.
- A node that is killed under a training: until its first epoch on another is reported.
"""

import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import reconv.search.search as search_module
from benchmarks.measure import OURS, ROOT, Effort, Row
from benchmarks.photographs import generated
from benchmarks.preparing import fetch_and_prepare
from reconv.data.arrays import PreparedData
from reconv.params import Params, load_params
from reconv.search.space import key_of
from reconv.search.trial import TrialSettings
from reconv.tracking.opening import end_pipeline_run, open_stage_run
from reconv.training.checkpoints import Checkpoints
from reconv.training.cluster import ray_session
from reconv.training.job import EpochResult, jobs_for
from reconv.training.observer import Observers
from reconv.training.seeds import train_seeds

TITLE = "On a cluster: efficiency, bookkeeping, a lost node"

_SECONDS = "RECONV_BENCHMARK_TRIAL_SECONDS"


def measure(effort: Effort) -> list[Row]:
    full = effort == "full"
    repeats = 2 if full else 1
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))  # Ray reads them once
    with tempfile.TemporaryDirectory(prefix="reconv-cluster-") as folder, chdir(folder):
        os.environ["PYTHONPATH"] = str(ROOT)  # the workers import the trial from here
        fetch_and_prepare(generated(40), Path("data"))
        data = PreparedData(Path("data/prepared"))
        rows = []
        for nodes in (1, 2, 4):
            few = (32, 4.0) if full else (8, 0.2)
            values = [_of_ideal(data, [1.0] * nodes, *few) for _ in range(repeats)]
            rows.append(Row(f"efficiency on {nodes} nodes", "%", OURS, values, bar=">= 90 %"))
        many = (1000, 1.0, 64) if full else (16, 0.2, 2)
        above = [100 * (100 / _of_ideal(data, [float(many[2])], *many[:2]) - 1) for _ in range(repeats)]
        what = f"{many[0]:,} trials of {many[1]:g} s on {many[2]} CPUs, above the ideal"
        rows.append(Row(what, "%", OURS, above, bar="<= 15 %"))
        lost = [_seconds_after_a_loss(data) for _ in range(3 if full else 1)]
        rows.append(Row("a node is killed, until its training trains again", "s", OURS, lost, bar="<= 30 s"))
    return rows


class Clock:
    """An observer that notes when epochs end."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def started(self, key: str, name: str, values: Mapping[str, Any]) -> None: ...

    def begins(self, key: str, after_epoch: int, worker: str) -> None: ...

    def noticed(self, key: str, what: str) -> None: ...

    def note(self, text: str) -> None: ...

    def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        self.ends.append(time.perf_counter())

    def finished(self, key: str, status: str) -> None: ...

    def resumed(self, history: Any, ended: Any) -> None: ...


def trial_that_sleeps(config: dict[str, Any], settings: TrialSettings) -> None:
    """In place of run_trial: one epoch with what a real one reports, a checkpoint included."""
    from ray import tune

    seconds = float(os.environ[_SECONDS])
    time.sleep(seconds)
    result = EpochResult(1, 1.0, 0.5, 1.0, config["lr"], 1.0, seconds)
    Checkpoints(settings.state, key_of(config)).save(result, lambda path: path.write_bytes(bytes(1024)))
    tune.report({"epoch": 1, **result.as_metrics()})


def _of_ideal(data: PreparedData, cpus_of_nodes: list[float], num_trials: int, seconds: float) -> float:
    """Per cent, from the moment when so many trials have ended as run at once."""
    params = _changed(search={"budget_epochs": num_trials, "max_epochs": 1, "grace_epochs": 1})
    room = round(sum(cpus_of_nodes))
    os.environ[_SECONDS] = str(seconds)
    clock = Clock()
    end_pipeline_run()
    with (
        _cluster(cpus_of_nodes),
        ray_session(params.resources) as session,
        open_stage_run(params, "search", "cnn", print) as run,
        patch.object(search_module, "run_trial", trial_that_sleeps),
        tempfile.TemporaryDirectory() as state,
    ):
        assert session.room == room
        search_module.search("cnn", params, data, Path(state), session, Observers(clock, run))
    assert len(clock.ends) == num_trials
    took = clock.ends[-1] - clock.ends[room - 1]
    share = (num_trials - room) / room * seconds / took
    print(
        f"  {num_trials} trials on {room} CPUs: {share:.1%} of ideal",
        file=sys.stderr,
        flush=True,
    )
    return 100 * share


def _seconds_after_a_loss(data: PreparedData) -> float:
    params = _changed(train={"max_epochs": 100_000, "num_seeds": 1})

    class OverError(Exception):
        pass

    class Killer(Clock):
        killed = 0.0

        def begins(self, key: str, after_epoch: int, worker: str) -> None:
            if self.killed:
                assert after_epoch >= 3
                raise OverError

        def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
            if epoch == 3:
                cluster.add_node(num_cpus=1)
                cluster.remove_node(node, allow_graceful=False)
                self.killed = time.perf_counter()

    killer = Killer()
    with _cluster([1.0]) as (cluster, (node,)), tempfile.TemporaryDirectory() as state:
        try:
            with ray_session(params.resources, 1) as session:
                train_seeds(jobs_for("cnn", params, {}), data, Path(state), session, killer)
        except OverError:
            seconds = time.perf_counter() - killer.killed
    print(f"  trains again after {seconds:.1f} s", file=sys.stderr, flush=True)
    return seconds


def _changed(**sections: dict[str, int]) -> Params:
    params = load_params(ROOT / "params.yaml")
    changed = {name: getattr(params, name).model_copy(update=values) for name, values in sections.items()}
    return params.model_copy(update=changed)


@contextmanager
def _cluster(cpus_of_nodes: list[float]) -> Iterator[tuple[Any, list[Any]]]:
    """Its head has no core."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=cpus) for cpus in cpus_of_nodes]
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        yield cluster, nodes
    finally:
        del os.environ["RAY_ADDRESS"]
        cluster.shutdown()
