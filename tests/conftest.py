"""Fixtures that the whole suite shares: an isolated folder per test, tiny params, images, prepared data and jobs.

Images are 8 x 8, grey, of three classes that a network of a few units tells apart in an epoch or two.
"""

import os
import secrets

# Before torch is imported: two cores are shared by everything that runs on this machine.
os.environ["OMP_NUM_THREADS"] = "1"
# Before Ray is imported: by itself it would leave a token in the home folder that later clusters require.
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
# A local session would set it to 0, and this process could make no cluster of several nodes any more.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "1"

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from reconv.artifacts import Budget, Conditions, Manifest
from reconv.data.arrays import PreparedData
from reconv.data.packing import prepare
from reconv.data.sources import fetch
from reconv.params import Params
from reconv.training.job import TrainingJob

pytest_plugins = ["failures"]
REPOSITORY = Path(__file__).resolve().parents[1]
CLASS_NAMES = ("left", "middle", "right")
IMAGE_SIZE = 8
_OUTSIDE = ("RAY_ADDRESS", "MLFLOW_TRACKING_URI", "RECONV_VERBOSE")
# What differs from the repository's params.yaml, by dotted key.
_TINY: dict[str, Any] = {
    "data.source": "folder:images",
    "data.validation": 0.25,
    "data.test": 0.25,
    "data.image_size": IMAGE_SIZE,
    "augment.crop": 1,
    "augment.flip": False,  # mirrored, `left` would be `right`
    "recipe.batch_size": 16,
    "recipe.lr": 1e-2,
    "recipe.warmup": 0.3,
    "recipe.precision": 32,
    "models.cnn.widths": [4, 8],
    "models.cnn.hidden": 8,
    "models.cnn.dropout": 0.1,
    "models.feedforward.widths": [16],
    "search.budget_epochs": 4,
    "search.max_epochs": 2,
    "search.space": {
        "cnn": {"lr": {"loguniform": [1e-3, 3e-2]}, "widths": {"choice": [[4, 8], [8]]}},
        "feedforward": {"lr": {"loguniform": [1e-3, 3e-2]}, "widths": {"choice": [[16], [8]]}},
    },
    "train.max_epochs": 2,
    "train.num_seeds": 2,
    "evaluate.batch_size": 16,
    "evaluate.latency_batch_sizes": [1],
    "study.profile": "tiny",
    "study.profiles": {"tiny": {"max_epochs": 1, "num_seeds": 1, "train_images": 1000, "perturbed_images": 9}},
    "study.shares": [0.5],
    "study.max_shift": 2,
    "study.image_sizes": [8, 16],
    "compare.num_resamples": 500,
}


def pytest_configure() -> None:
    _forget_where_to_run()


def _forget_where_to_run() -> None:
    """Of the caller's environment, and of what MLflow left there in an earlier test."""
    for name in _OUTSIDE:
        os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The empty folder that every test runs in, with nothing in the environment that says where to run."""
    monkeypatch.chdir(tmp_path)
    _forget_where_to_run()
    yield tmp_path
    _forget_where_to_run()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of a server of S3 on this machine."""
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


def s3_credentials(server: str) -> dict[str, str]:
    """As environment variables."""
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    return {"AWS_ENDPOINT_URL": server, "AWS_DEFAULT_REGION": "us-east-1", **keys}


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Any]:
    """s3://parts, empty, with the credentials where the tools look for them."""
    for name, value in s3_credentials(s3_server).items():
        monkeypatch.setenv(name, value)
    import boto3

    made = boto3.resource("s3").create_bucket(Bucket="parts")
    yield made
    made.objects.all().delete()
    made.delete()


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture
def params_values() -> dict[str, Any]:
    """The tiny params.yaml as a dict of the test's own: every key of the real one, with values for seconds of work."""
    return _tiny_values()


@pytest.fixture
def make_params(params_values: dict[str, Any]) -> Callable[..., Params]:
    """make_params({"recipe.lr": 0.1}): the tiny params with changes by dotted key."""

    def make(changes: dict[str, Any] | None = None) -> Params:
        return Params.model_validate(_laid_over(params_values, changes or {}))

    return make


@pytest.fixture(scope="session")
def tiny_params() -> Params:
    """The tiny params, for fixtures that outlive a test."""
    return Params.model_validate(_tiny_values())


@pytest.fixture
def params(make_params: Callable[..., Params]) -> Params:
    """The tiny params."""
    return make_params()


@pytest.fixture(scope="session")
def of_torchvision() -> Callable[..., dict[str, Any]]:
    """of_torchvision("resnet18", weights="none"): changes to the tiny params by which the CNN is that network."""

    def make(name: str = "mobilenet_v3_small", **values: Any) -> dict[str, Any]:
        usual = {"model": f"torchvision:{name}", "weights": "none", "frozen": 0.5, "dropout": 0.1}
        return {"models.cnn": {**usual, **values}, "search.space.cnn": {"lr": {"loguniform": [1e-3, 3e-2]}}}

    return make


@pytest.fixture
def project(folder: Path, params_values: dict[str, Any]) -> Path:
    """The current folder with the tiny params.yaml and its 60 images in images/, as a stage script finds them."""
    write_images(folder / "images")
    (folder / "params.yaml").write_text(yaml.safe_dump(params_values, sort_keys=False), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def make_prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., PreparedData]:
    """make_prepared(per_class=20, seed=0, changes): a new data/prepared, made by fetch and prepare from PNG files."""

    def make(per_class: int = 20, seed: int = 0, changes: dict[str, Any] | None = None) -> PreparedData:
        root = tmp_path_factory.mktemp("data")
        write_images(root / "images", per_class, seed)
        spec = f"folder:{root / 'images'}"
        fetch(spec, None, root / "raw", lambda _: None)
        values = _laid_over(_tiny_values(), {"data.source": spec, **(changes or {})})
        prepare(Params.model_validate(values).data, root / "raw", root / "prepared", root / "decoded", lambda *_: None)
        return PreparedData(root / "prepared")

    return make


@pytest.fixture(scope="session")
def prepared(make_prepared: Callable[..., PreparedData]) -> PreparedData:
    """33 training, 12 validation and 15 test images, 8 x 8 x 1, of three classes. Shared: do not write there."""
    return make_prepared()


@pytest.fixture
def make_job(make_params: Callable[..., Params]) -> Callable[..., TrainingJob]:
    """make_job("cnn", epochs=2, seed=0, changes={"recipe.lr": 0.1}): a training of the tiny params."""

    def make(model: str = "cnn", epochs: int = 2, seed: int = 0, changes: dict[str, Any] | None = None) -> TrainingJob:
        params = make_params(changes)
        return TrainingJob(model, params.network(model), params.recipe, params.augment, epochs, seed)

    return make


@pytest.fixture
def tiny_job(make_job: Callable[..., TrainingJob]) -> TrainingJob:
    """Two epochs of the small CNN."""
    return make_job()


@pytest.fixture
def manifest() -> Manifest:
    """Of images that need not exist."""
    return Manifest(
        source="folder:images",
        source_digest="0" * 64,
        class_names=CLASS_NAMES,
        image_shape=(IMAGE_SIZE, IMAGE_SIZE, 1),
        counts={"train": 30, "validation": 9, "test": 9},
        mean=(60.0,),
        std=(50.0,),
    )


@pytest.fixture(scope="session")
def make_budget() -> Callable[..., Budget]:
    """make_budget(spent_epochs=4): of a search that spent it all unless something else is said."""

    def make(spent_epochs: int = 4, **values: Any) -> Budget:
        usual = {
            "budget_epochs": spent_epochs,
            "max_epochs": 2,
            "seed": 0,
            "device_seconds": 60.0,
            "energy": None,
            "num_trials": 2,
        }
        usual |= {"searcher": "random", "data_digest": "0" * 64}
        return Budget.model_validate({**usual, "spent_epochs": spent_epochs, **values})

    return make


@pytest.fixture(scope="session")
def make_conditions() -> Callable[..., Conditions]:
    """make_conditions(seeds=(0, 1)): of a final training whose search chose its learning rate."""

    def make(**values: Any) -> Conditions:
        usual = {
            "data_digest": "0" * 64,
            "num_images": 30,
            "epochs": 2,
            "seeds": (0, 1),
            "augment": {"crop": 1, "flip": False},
            "recipe": {"optimizer": "muon", "lr": 0.01},
            "network": {"widths": [4, 8]},
            "searched": ("lr", "widths"),
            "precision": "32-true",
            "device": "cpu",
        }
        return Conditions.model_validate({**usual, **values})

    return make


@pytest.fixture(scope="session")
def write_image_folder() -> Callable[..., Path]:
    """write_image_folder(root, per_class=20, seed=0): PNG files in root/CLASS; returns root."""
    return write_images


def write_images(root: Path, per_class: int = 20, seed: int = 0) -> Path:
    images, labels = generate_images(per_class, seed)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = root / CLASS_NAMES[label] / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return root


def generate_images(per_class: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(N, 8, 8) of noise with a bright column pair whose place is the class, and labels (N,); no two are equal."""
    labels = np.repeat(np.arange(len(CLASS_NAMES)), per_class)
    images = np.random.default_rng(seed).integers(0, 100, (len(labels), IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 1 + 2 * label : 3 + 2 * label] += 150
    return images, labels


def _tiny_values() -> dict[str, Any]:
    real = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    return _laid_over(real, _TINY)


def _laid_over(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of `values` in which each dotted key of `changes` has its new value."""
    result = copy.deepcopy(values)
    for key, value in changes.items():
        *sections, name = key.split(".")
        section = result
        for part in sections:
            section = section[part]
        section[name] = copy.deepcopy(value)
    return result
