"""A classifier of params.yaml's CNN as it is registered, with random weights: how fast it answers does not depend on
them.
"""

from pathlib import Path

import torch

from benchmarks.measure import ROOT
from reconv.artifacts import Manifest
from reconv.files import write_bytes, write_json
from reconv.models.classifier import new_classifier, weights_as_bytes
from reconv.params import load_params
from reconv.serving.bundle import write_bundle


def bundle_in(folder: Path, side: int, channels: int) -> Path:
    """For images of `side` x `side` pixels, of ten classes; the CNN looks at the mirror image too."""
    params = load_params(ROOT / "params.yaml")
    manifest = Manifest(
        source="generated",
        source_digest="0" * 64,
        class_names=tuple(f"class {k}" for k in range(10)),
        image_shape=(side, side, channels),
        counts={"train": 1, "validation": 1, "test": 1},
        mean=(128.0,) * channels,
        std=(64.0,) * channels,
    )
    torch.manual_seed(0)
    classifier = new_classifier("cnn", params.models.cnn, manifest, flips=True)
    write_bytes(folder / "trained" / "weights.safetensors", weights_as_bytes(classifier))
    write_json(folder / "trained" / "model.json", classifier.arguments)
    write_bundle(folder / "bundle", folder / "trained", 1.5, manifest, "crop")
    return folder / "bundle"
