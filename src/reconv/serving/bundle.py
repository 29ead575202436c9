"""The folder of a registered classifier: its weights, and all that is needed to answer as it did when it was evaluated.

Read wherever a model is used; nothing in it is unpickled or run.
"""

import os
import shutil
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from reconv.artifacts import Artifact, Manifest
from reconv.data.decoding import Conversion, Resize
from reconv.domains import Number, Side
from reconv.errors import DataError
from reconv.files import digest_of, read_json, sha256_of_file
from reconv.model_json import MODEL, read_model_json

WEIGHTS, SERVED = "weights.safetensors", "served.json"
REFERENCE = "reference.npz"
_MAX_BYTES = 2**20


class Served(Artifact):
    """served.json: what becomes of images before the classifier sees them, and of its logits after."""

    format_version: Literal[1] = 1
    temperature: Annotated[Number, Field(ge=1e-3, le=1e3)]
    """By which logits are divided, so that confidence and accuracy agree (Guo et al. 2017)."""
    image_size: Side
    channels: Literal[1, 3]
    resize: Resize
    source: str
    data_digest: str

    @property
    def conversion(self) -> Conversion:
        return Conversion(self.image_size, self.channels, self.resize)


def write_bundle(out: Path, trained: Path, temperature: float, manifest: Manifest, resize: Resize) -> Served:
    """The classifier in the folder `trained`, and how it is served, into the new folder `out`."""
    size, _, channels = manifest.image_shape
    served = Served(
        temperature=temperature,
        image_size=size,
        channels=1 if channels == 1 else 3,
        resize=resize,
        source=manifest.source,
        data_digest=manifest.digest,
    )
    out.mkdir(parents=True)
    for name in (WEIGHTS, MODEL):
        shutil.copyfile(trained / name, out / name)
    served.save(out / SERVED)
    return served


def read_served(bundle: Path) -> Served:
    """Return what served.json says; without that file, the defaults of the earlier reconv that wrote the bundle.

    Raises:
        DataError: a file is damaged, holds a value out of its bounds, or both disagree on the images.
    """
    height, width, channels = read_model_json(bundle).image_shape
    if not os.path.lexists(bundle / SERVED):
        if height != width or channels not in (1, 3):
            raise DataError(
                f"{bundle} holds a classifier of images of {height} x {width} x {channels}: register the model again."
            )
        return Served(
            temperature=1.0,
            image_size=height,
            channels=1 if channels == 1 else 3,
            resize="crop",
            source="unknown",
            data_digest="",
        )
    served = Served.load(bundle / SERVED, _MAX_BYTES)
    if served.conversion.shape != (height, width, channels):
        raise DataError(
            f"{bundle / SERVED} describes images of {served.image_size} x {served.image_size} x {served.channels}, "
            f"{MODEL} of {height} x {width} x {channels}: one of them was changed; register the model again."
        )
    return served


def identity(bundle: Path) -> str:
    """The same for classifiers that give the same answers to all images."""
    served = read_served(bundle)
    return digest_of(
        {
            "weights": _sha256_of_weights(bundle),
            "model": read_json(bundle / MODEL),
            "temperature": served.temperature,
            "conversion": [served.image_size, served.channels, served.resize],
        }
    )


def _sha256_of_weights(bundle: Path) -> str:
    try:
        return sha256_of_file(bundle / WEIGHTS)
    except OSError as error:
        raise DataError(f"{bundle / WEIGHTS} cannot be read ({error}): run `dvc repro`.") from None
