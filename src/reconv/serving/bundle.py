"""The folder of a registered classifier: its weights, and all that is needed to answer as it did when it was evaluated.

Read wherever a model is used; nothing in it is unpickled or run.
"""

import os
import shutil
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from reconv.artifacts import Artifact, Manifest
from reconv.data.decoding import Conversion, Resize, Transparency
from reconv.data.value_range import FULL_RANGE, ValueRange
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
    transparency: Transparency = Field(default="ignore", exclude_if=lambda ground: ground == "ignore")
    value_range: ValueRange = Field(default=FULL_RANGE, exclude_if=lambda values: values == FULL_RANGE)
    source: str
    data_digest: str

    @field_validator("value_range")
    @classmethod
    def _is_a_range(cls, value: ValueRange) -> ValueRange:
        if not -(2**31) <= value[0] < value[1] < 2**31:
            raise ValueError("must be two ascending numbers of 32 bits")
        return value

    @property
    def conversion(self) -> Conversion:
        return Conversion(self.image_size, self.channels, self.resize, self.transparency, self.value_range)


def write_bundle(
    out: Path,
    trained: Path,
    temperature: float,
    manifest: Manifest,
    resize: Resize,
    transparency: Transparency = "ignore",
) -> Served:
    """The classifier in the folder `trained`, and how it is served, into the new folder `out`."""
    size, _, channels = manifest.image_shape
    served = Served(
        temperature=temperature,
        image_size=size,
        channels=1 if channels == 1 else 3,
        resize=resize,
        transparency=transparency,
        value_range=manifest.value_range,
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
    later = served.model_dump(mode="json", include={"transparency", "value_range"})  # empty at their defaults
    return digest_of(
        {
            "weights": _sha256_of_weights(bundle),
            "model": read_json(bundle / MODEL),
            "temperature": served.temperature,
            "conversion": [served.image_size, served.channels, served.resize, *([later] if later else [])],
        }
    )


def _sha256_of_weights(bundle: Path) -> str:
    try:
        return sha256_of_file(bundle / WEIGHTS)
    except OSError as error:
        raise DataError(f"{bundle / WEIGHTS} cannot be read ({error}): run `dvc repro`.") from None
