"""How many trainings share a GPU. Where there is none, a cluster counts GPUs that do not exist, and schedules them."""

import pytest
import torch

from reconv.training.cluster import ray_session
from reconv.training.delivery import InFolder
from reconv.training.seeds import train_seeds
from reconv.training.sharing import Footprint, largest_of_search, measure, slots, with_shared_gpus

GB = 10**9


@pytest.mark.parametrize(
    ("used", "expected"),
    [(1, 4), (17, 4), (18, 3), (22, 3), (23, 2), (34, 2), (35, 1), (79, 1), (90, 1)],
)
def test_as_many_share_a_gpu_as_its_memory_holds_with_room_to_spare(used: int, expected: int) -> None:
    assert slots(Footprint(used * GB, 80 * GB), num_gpus=1, num_trainings=None) == expected


@pytest.mark.parametrize(("num_trainings", "num_gpus", "expected"), [(3, 4, 1), (3, 2, 2), (3, 1, 3), (20, 2, 4)])
def test_no_gpu_is_left_idle_while_another_is_shared(num_trainings: int, num_gpus: int, expected: int) -> None:
    assert slots(Footprint(GB, 80 * GB), num_gpus, num_trainings) == expected


def test_the_largest_of_a_search_takes_the_widest_network_that_can_be_built(make_params, prepared):
    too_deep = [4] * 6  # halves an image of 8 x 8 pixels to nothing
    space = {
        "widths": {"choice": [[4], [64, 8], too_deep]},
        "batch_size": {"choice": [16, 8]},
        "lr": {"loguniform": [1e-3, 3e-2]},
    }
    params = make_params({"search.space.cnn": space, "recipe.batch_size": 8})

    largest = largest_of_search("cnn", params, prepared.manifest)

    assert largest.network.widths == (64, 8)
    assert largest.recipe.batch_size == 16


@pytest.fixture(scope="module")
def address():
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 1, "include_dashboard": False})
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def session(address, params, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with ray_session(params.resources, num_trainings=2) as session:
        yield session


@pytest.mark.ray
@pytest.mark.slow
def test_what_is_measured_on_a_worker_decides_how_many_run_at_once(session, tiny_job, prepared):
    noted = Notes()

    shared = with_shared_gpus(
        session,
        [tiny_job],
        2,
        InFolder(prepared.folder),
        noted,
        measured=lambda *_: Footprint(3_100_000_000, 80_000_000_000),
    )

    assert (session.gpus_per_training, session.room) == (1, 1)
    assert (shared.gpus_per_training, shared.room) == (0.5, 2)
    assert noted.texts == ["the largest training takes 3.1 of a GPU's 80.0 GB: 2 share one"]


@pytest.mark.ray
@pytest.mark.slow
def test_gpus_that_torch_does_not_find_are_told_of(session, tiny_job, prepared, tmp_path):
    noted = Notes()

    trained, _ = train_seeds([tiny_job], prepared, tmp_path / "state", session, noted)

    (text,) = noted.texts
    assert "torch finds none" in text
    assert len(trained) == 1


class Notes:
    """An observer that keeps what it is told of all trainings."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)

    def __getattr__(self, name: str):
        return lambda *_: None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_training_is_measured_on_its_gpu(tiny_job, prepared):
    footprint = measure(tiny_job, InFolder(prepared.folder), 1)

    assert footprint is not None
    assert footprint.total_bytes == torch.cuda.get_device_properties(0).total_memory
    assert torch.cuda.max_memory_reserved() <= footprint.used_bytes < footprint.total_bytes
