"""Search and training on a cluster whose working node sees nothing of what the tests write, as a machine that shares no
file system: all of it is hidden from that node in a mount namespace of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from conftest import s3_credentials

from reconv.data.arrays import PreparedData
from reconv.errors import UnavailableError
from reconv.params import Params
from reconv.resuming import resumable_dir
from reconv.search.search import search
from reconv.training import nodes
from reconv.training.cluster import Session, ray_session
from reconv.training.delivery import InObjectStore, InStorage, deliver
from reconv.training.job import jobs_for
from reconv.training.seeds import train_seeds

pytestmark = [pytest.mark.ray, pytest.mark.slow]
MakeParams = Callable[..., Params]
OpenSession = Callable[[str | None], AbstractContextManager[Session]]


class Recorder:
    def __init__(self) -> None:
        self.epochs: dict[str, list[int]] = {}

    def started(self, *_: object) -> None: ...

    def note(self, text: str) -> None: ...

    def begins(self, *_: object) -> None: ...

    def noticed(self, *_: object) -> None: ...

    def epoch(self, key: str, epoch: int, _: object) -> None:
        self.epochs.setdefault(key, []).append(epoch)

    def finished(self, *_: object) -> None: ...

    def resumed(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, s3_server: str) -> Iterator[str]:
    """Of a head without a core; all work goes to the other node, which has two."""
    from ray.cluster_utils import Cluster

    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("a mount namespace cannot be made here")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    ray = Path(sys.executable).with_name("ray")
    hide = f"mount -t tmpfs tmpfs {tmp_path_factory.getbasetemp()}"
    start = f"{hide} && exec {ray} start --address={cluster.address} --num-cpus=2 --block"
    environment = {**os.environ, **s3_credentials(s3_server)}
    command = ["unshare", "--mount", "sh", "-c", start]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd="/", env=environment) as node:
        yield cluster.address
        node.terminate()
    cluster.shutdown()


@pytest.fixture
def storage() -> Iterator[str]:
    with TemporaryDirectory(prefix="reconv-storage-") as folder:
        yield folder


@pytest.fixture
def open_session(params: Params, address: str, monkeypatch: pytest.MonkeyPatch) -> OpenSession:
    """open_session(storage), once all nodes are there."""

    @contextmanager
    def opened(storage: str | None) -> Iterator[Session]:
        import ray

        monkeypatch.setenv("RAY_ADDRESS", address)
        deadline = time.monotonic() + 60
        while True:
            with ray_session(params.resources.model_copy(update={"storage": storage}), 2) as session:
                if session.num_cpus == 2:
                    yield session
                    return
            assert time.monotonic() < deadline
            assert not ray.is_initialized()
            time.sleep(0.5)

    return opened


def test_a_node_that_sees_no_files_needs_a_storage(open_session: OpenSession) -> None:
    with pytest.raises(UnavailableError, match=r"not every node .* sees .*resources\.storage"), open_session(None):
        pass


def test_a_node_that_is_lost_while_it_is_asked_is_left_out(
    open_session: OpenSession, storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_session(storage):
        alive = nodes.nodes_alive()
        listed = iter([[*alive, {**alive[0], "NodeID": "1" * 56}]])
        monkeypatch.setattr(nodes, "nodes_alive", lambda: next(listed, alive))
        assert not nodes.check_nodes(tmp_path)


def test_final_trainings_come_out_as_on_this_machine(
    make_params: MakeParams, prepared: PreparedData, open_session: OpenSession, storage: str
) -> None:
    params = make_params({"train.num_seeds": 2})
    jobs = jobs_for("cnn", params, [{}] * 2)
    with ray_session(params.resources, 2) as session:
        here, _ = train_seeds(jobs, prepared, Path("state"), session, Recorder())
    seen = Recorder()

    with open_session(storage) as session:
        assert isinstance(deliver(prepared, session), InObjectStore)
        state = resumable_dir("train-cnn", "these jobs", session.storage)
        there, _ = train_seeds(jobs, prepared, state, session, seen)

    assert {seed: one.weights.read_bytes() for seed, one in there.items()} == {
        seed: one.weights.read_bytes() for seed, one in here.items()
    }
    assert seen.epochs == {"seed-0": [1, 2], "seed-1": [1, 2]}
    assert str(state).startswith(f"file://{storage}")


def test_two_workers_share_a_training(
    make_params: MakeParams, prepared: PreparedData, open_session: OpenSession, storage: str
) -> None:
    """Each has the images and the checkpoint from elsewhere."""
    jobs = jobs_for("cnn", make_params({"train.num_seeds": 1}), [{}])
    seen = Recorder()

    with open_session(storage) as session:
        state = resumable_dir("train-cnn", "this job", session.storage)
        trained, _ = train_seeds(jobs, prepared, state, replace(session, workers=(1, 2)), seen)

    assert seen.epochs == {"seed-0": [1, 2]}
    assert [row["speed/workers"] for row in trained[0].curve] == [2, 2]


def test_images_too_many_for_the_object_store_come_from_the_storage(
    make_params: MakeParams,
    prepared: PreparedData,
    open_session: OpenSession,
    storage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from reconv.training import delivery

    monkeypatch.setattr(delivery, "_MOST_OF_THE_OBJECT_STORE", 0.0)
    jobs = jobs_for("cnn", make_params({"train.num_seeds": 1}), [{}])

    with open_session(storage) as session:
        assert isinstance(deliver(prepared, session), InStorage)
        trained, _ = train_seeds(jobs, prepared, resumable_dir("train", "jobs", storage), session, Recorder())

    assert len(trained[0].curve) == 2


def test_a_search_keeps_its_state_in_the_storage_and_goes_on_from_there(
    make_params: MakeParams, prepared: PreparedData, open_session: OpenSession, bucket: Any
) -> None:
    storage = f"s3://{bucket.name}/project"
    params = make_params({"search.budget_epochs": 6, "train.num_seeds": 1})
    state = resumable_dir("search-cnn", "this search", storage)
    interrupted, resumed = Recorder(), Recorder()

    def interrupt(key: str, epoch: int, metrics: object) -> None:
        Recorder.epoch(interrupted, key, epoch, metrics)
        if sum(map(len, interrupted.epochs.values())) == 3:
            raise KeyboardInterrupt

    interrupted.epoch = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt), open_session(storage) as session:
        search("cnn", params, prepared, state, session, interrupted)

    with open_session(storage) as session:
        outcome = search("cnn", params, prepared, state, session, resumed)

    assert outcome.budget.spent_epochs == 6
    assert sum(map(len, resumed.epochs.values())) < 6
    kept = [one.key for one in bucket.objects.all()]
    assert any(key.endswith(".jsonl") for key in kept)
    assert any(key.endswith(".ckpt") for key in kept)
    assert not any(key.endswith(".pkl") for key in kept)
    assert not list(Path().rglob("*.jsonl"))
