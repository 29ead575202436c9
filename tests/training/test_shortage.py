"""Trainings and trials that run out of memory: the allocator refuses, Ray's memory monitor kills, the kernel kills."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch
from control_group import limited_group

from reconv.errors import DeviceMemoryShortError, MemoryShortError, TrainingError
from reconv.search.search import search
from reconv.training.cluster import Session, ray_session
from reconv.training.job import jobs_for
from reconv.training.memory import names_shortage_of_memory
from reconv.training.seeds import train_seeds
from reconv.training.shortage import Shortages, num_kills, what_follows

# Of a control group in which one training of 4000 x 4000 weights fits, with a node of Ray, and two do not.
_LIMIT_BYTES = 1500 * 2**20
_LARGE = {"models.feedforward.widths": [4000, 4000], "recipe.optimizer": "adamw"}
_HUGE = [10**6, 10**6]  # 4 TB of weights: refused by any machine


class Recorder:
    def __init__(self):
        self.short, self.epochs, self.ended, self.begun = {}, {}, {}, {}

    def started(self, key, name, values): ...

    def note(self, text): ...

    def begins(self, key, after_epoch, worker):
        self.begun.setdefault(key, []).append(after_epoch)

    def noticed(self, key, what):
        self.short.setdefault(key, []).append(what)

    def epoch(self, key, epoch, metrics):
        self.epochs.setdefault(key, []).append(epoch)

    def finished(self, key, status):
        self.ended[key] = status

    def resumed(self, history, ended): ...


class Interrupting(Recorder):
    def noticed(self, key, what):
        super().noticed(key, what)
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "take",
    [
        lambda: torch.empty(10**15),
        lambda: bytearray(10**15),
        lambda: (_ for _ in ()).throw(OSError(12, "Cannot allocate memory")).__next__(),
    ],
)
def test_whatever_the_machine_refuses_memory_with_is_named(take):
    with pytest.raises(MemoryShortError, match=r"machine .* recipe\.batch_size") as raised, names_shortage_of_memory():
        take()
    assert not isinstance(raised.value, DeviceMemoryShortError)


def test_what_a_gpu_refuses_is_named_and_what_is_something_else_is_not():
    with pytest.raises(DeviceMemoryShortError, match="CUDA out of memory"), names_shortage_of_memory():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    with pytest.raises(RuntimeError, match="shapes"), names_shortage_of_memory():
        raise RuntimeError("shapes do not fit")


def test_alone_on_a_gpu_is_a_whole_one():
    session = Session(8, 2, cpus_per_training=1, gpus_per_training=0.25, threads_per_training=1)

    shortage = Shortages(session).told_by(f"ray::train() reconv.errors.{DeviceMemoryShortError.__name__}: CUDA ...")

    assert shortage.place == "GPU"
    assert shortage.needs_alone == {"CPU": 1, "GPU": 1}


def test_a_worker_that_the_kernel_did_not_kill_is_no_shortage():
    session = Session(2, 0, cpus_per_training=1, gpus_per_training=0, threads_per_training=1)
    assert Shortages(session).told_by("The actor died unexpectedly before finishing this task.") is None


@pytest.mark.ray
@pytest.mark.slow
def test_a_training_that_does_not_fit_alone_either_names_the_remedy(make_params, prepared, tmp_path):
    params = make_params({"models.feedforward.widths": _HUGE})
    recorder = Recorder()

    with (
        ray_session(params.resources, 1) as session,
        pytest.raises(
            TrainingError, match=r"seed-0 .* machine's memory, tried alone as well: lower recipe\.batch_size"
        ),
    ):
        train_seeds(jobs_for("feedforward", params, [{}]), prepared, tmp_path / "state", session, recorder)

    assert recorder.short == {"seed-0": [what_follows("machine", True), what_follows("machine", False)]}
    assert recorder.ended == {"seed-0": "failed"}


@pytest.mark.ray
@pytest.mark.slow
def test_a_search_goes_on_without_a_trial_that_does_not_fit(make_params, prepared, tmp_path):
    space = {"cnn": {}, "feedforward": {"widths": {"choice": [_HUGE, [8], [16], [32], [64]]}}}
    params = make_params({"models.feedforward.widths": _HUGE, "search.space": space})
    recorder = Recorder()

    with ray_session(params.resources) as session:
        outcome = search("feedforward", params, prepared, tmp_path / "state", session, recorder)

    assert outcome.budget.spent_epochs == params.search.budget_epochs * params.train.num_seeds
    failed = outcome.trials[outcome.trials["status"] == "failed"]
    assert set(failed["widths"]) == {str(_HUGE)}
    assert len(recorder.short) == len(failed)
    retried, given_up = what_follows("machine", True), what_follows("machine", False)
    assert all(told == [retried, retried, given_up] for told in recorder.short.values())


@pytest.mark.ray
@pytest.mark.slow
def test_a_trial_that_rays_memory_monitor_kills_is_tried_again(make_params, prepared, tmp_path, monkeypatch):
    """Ray Tune by itself ends the search there."""
    from ray.cluster_utils import Cluster

    memory = psutil.virtual_memory()
    threshold = (memory.total - memory.available + 3e9) / memory.total
    if threshold > 0.9:
        pytest.skip("less than 4 GB of memory are free")
    monkeypatch.setenv("RAY_memory_usage_threshold", str(threshold))
    space = {"cnn": {}, "feedforward": {"lr": {"loguniform": [1e-3, 3e-2]}}}
    params = make_params({"models.feedforward.widths": [30_000, 30_000], "search.space": space})
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    recorder = Interrupting()
    try:
        with pytest.raises(KeyboardInterrupt), ray_session(params.resources) as session:
            search("feedforward", params, prepared, tmp_path / "state", session, recorder)
    finally:
        cluster.shutdown()

    assert list(recorder.short.values()) == [[what_follows("machine", True)]]


@pytest.fixture
def small_node(monkeypatch) -> Iterator[None]:
    """RAY_ADDRESS of a cluster whose only working node has two cores and little memory."""
    from ray.cluster_utils import Cluster

    with limited_group(_LIMIT_BYTES) as group:
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        ray = Path(sys.executable).with_name("ray")
        options = "--num-cpus=2 --memory=1000000000 --object-store-memory=100000000 --block"
        start = f"echo 0 > {group}/cgroup.procs && exec {ray} start --address={cluster.address} {options}"
        with subprocess.Popen(["sh", "-c", start], stdout=subprocess.DEVNULL, cwd="/") as node:
            monkeypatch.setenv("RAY_ADDRESS", cluster.address)
            yield
            node.terminate()
        cluster.shutdown()


@contextmanager
def session_of_two_cores(params) -> Iterator[Session]:
    """Once the working node is there."""
    deadline = time.monotonic() + 60
    while True:
        with ray_session(params.resources, 2) as session:
            if session.num_cpus == 2:
                yield session
                return
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.mark.ray
@pytest.mark.slow
def test_two_trainings_that_fit_one_after_the_other_are_trained_so(make_params, prepared, tmp_path, small_node):
    params = make_params({**_LARGE, "train.max_epochs": 6})
    kills = num_kills()
    recorder = Recorder()

    with session_of_two_cores(params) as session:
        trained, _ = train_seeds(
            jobs_for("feedforward", params, [{}] * params.train.num_seeds),
            prepared,
            tmp_path / "state",
            session,
            recorder,
        )

    assert num_kills() > kills
    assert {*map(tuple, recorder.short.values())} == {(what_follows("machine", True),)}  # of one of them, or of both
    assert recorder.ended == {"seed-0": "finished", "seed-1": "finished"}
    assert [len(one.curve) for one in trained.values()] == [6, 6]
