"""A CNN and a feed-forward network that were never trained, and the page's server on a free port."""

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reconv.artifacts import Manifest
from reconv.demo.contenders import Contender, Contenders
from reconv.demo.server import page_app
from reconv.files import write_bytes, write_json
from reconv.local_server import LocalPort, listen
from reconv.models.classifier import new_classifier, weights_as_bytes
from reconv.params import Params
from reconv.serving.answering import Answering
from reconv.serving.bundle import write_bundle

CLASS_NAMES = tuple(f"part {letter}" for letter in "abcdefghijkl")
OF_IMAGES = Manifest(
    source="folder:images",
    source_digest="0" * 64,
    class_names=CLASS_NAMES,
    image_shape=(8, 8, 1),
    counts={"train": 30, "validation": 9, "test": 9},
    mean=(60.0,),
    std=(50.0,),
)


def bundle_of(model: str, params: Params, folder: Path) -> Path:
    torch.manual_seed(0)
    classifier = new_classifier(model, params.network(model), OF_IMAGES)
    trained = folder / f"{model}-trained"
    write_bytes(trained / "weights.safetensors", weights_as_bytes(classifier))
    write_json(trained / "model.json", classifier.arguments)
    write_bundle(folder / model, trained, temperature=0.5, manifest=OF_IMAGES, resize="pad")
    return folder / model


@pytest.fixture(scope="session")
def bundle(tiny_params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the CNN: 12 classes, images of 8 x 8 pixels, grey."""
    return bundle_of("cnn", tiny_params, tmp_path_factory.mktemp("champion"))


@pytest.fixture(scope="session")
def contenders(bundle: Path, tiny_params: Params, tmp_path_factory: pytest.TempPathFactory) -> Contenders:
    opponent = bundle_of("feedforward", tiny_params, tmp_path_factory.mktemp("baseline"))
    return Contenders(
        Contender("champion", "Convolutional network", "parts version 1", Answering(bundle), is_calibrated=True),
        Contender("baseline", "Feed-forward network", "of the same run", Answering(opponent), is_calibrated=False),
        why_alone="",
    )


@pytest.fixture(scope="session")
def port(contenders: Contenders) -> Iterator[LocalPort]:
    """Where the page is, from a running server."""
    port = listen(0)
    server = port.new_server(page_app(contenders))
    running = threading.Thread(target=server.run, kwargs={"sockets": [port.listening]})
    running.start()
    yield port
    server.should_exit = True
    running.join(timeout=30)
    assert not running.is_alive()


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A PNG of 40 x 20 pixels, in colour."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
