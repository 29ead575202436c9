"""Bundles of all networks that can be exported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from reconv.artifacts import Manifest
from reconv.files import write_bytes, write_json
from reconv.models.classifier import ImageClassifier, new_classifier, weights_as_bytes
from reconv.params import NetworkParams
from reconv.serving.bundle import write_bundle

TEMPERATURE = 0.6


@pytest.fixture
def make_bundle(prepared) -> Callable[..., Path]:
    """make_bundle(network, flips=True, pixel_order=None, seed=0, ...) of images as `prepared` has them, or of those of
    another manifest."""

    def make(network: NetworkParams, model: str = "cnn", manifest: Manifest = prepared.manifest, **values: Any) -> Path:
        folder = Path(f"bundle-{len(list(Path().glob('bundle-*')))}")
        write_bundle(folder, trained(model, network, manifest, **values), TEMPERATURE, manifest, "crop")
        return folder

    return make


def trained(model: str, network: NetworkParams, manifest: Manifest, seed: int = 0, **values: Any) -> Path:
    """As if: weights as they are drawn, and normalisations that have seen something."""
    torch.manual_seed(seed)
    classifier = new_classifier(model, network, manifest, **values)
    for layer in classifier.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
    return _written(classifier)


def _written(classifier: ImageClassifier) -> Path:
    write_bytes(Path("trained/weights.safetensors"), weights_as_bytes(classifier))
    write_json(Path("trained/model.json"), classifier.arguments)
    return Path("trained")
