"""What is kept of a classifier's images beside it: by which later images are known again, and are told to have drifted.

N images, K classes.
"""

from dataclasses import dataclass, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconv.data.arrays import PreparedData
from reconv.data.fingerprints import fingerprints, means_and_deviation
from reconv.data.shards import AnyImages
from reconv.errors import DataError
from reconv.files import read_arrays, write_arrays
from reconv.serving.bundle import REFERENCE

Hashes = NDArray[np.uint64]
_TYPES: dict[str, type[np.generic]] = {
    **dict.fromkeys(("development", "validation", "test"), np.uint64),
    "class_counts": np.int64,
    **dict.fromkeys(("brightness", "contrast", "colourfulness", "confidence"), np.float32),
}
_SAMPLE = 10_000
_CHUNK = 1000


@dataclass(frozen=True)
class Reference:
    development: Hashes
    """Of the contents of all images that it was trained or calibrated on, sorted."""
    validation: Hashes
    """Of those of `development` that it was not trained on, sorted; empty if an earlier reconv wrote it."""
    test: Hashes
    """Of those that it was compared by, sorted."""
    class_counts: NDArray[np.int64]
    """(K,) of the training images."""
    brightness: NDArray[np.float32]
    """Of at most 10,000 training images, evenly spaced; 0 to 255, as the following two."""
    contrast: NDArray[np.float32]
    colourfulness: NDArray[np.float32]
    confidence: NDArray[np.float32]
    """Its calibrated confidence in its answers to at most 10,000 test images."""

    @property
    def trained(self) -> Hashes:
        """Of those of `development` that it was trained on, as far as is known."""
        return np.setdiff1d(self.development, self.validation)

    @property
    def test_digest(self) -> str:
        return digest_of_hashes(self.test)


def reference_of(data: PreparedData, confidence_N: NDArray[np.float64]) -> Reference:
    """`confidence_N` of the classifier in its answers to the test images."""
    train = data.train
    of_training, of_validation = content_hashes(train.images), content_hashes(data.validation.images)
    return Reference(
        development=np.sort(np.concatenate([of_training, of_validation])),
        validation=np.setdiff1d(of_validation, of_training),
        test=np.sort(content_hashes(data.test.images)),
        class_counts=np.bincount(train.labels, minlength=data.manifest.num_classes).astype(np.int64),
        **statistics_of(train.images, _spaced(len(train))),
        confidence=confidence_N[_spaced(len(confidence_N))].astype(np.float32),
    )


def save_reference(reference: Reference, bundle: Path) -> None:
    write_arrays(bundle / REFERENCE, {one.name: getattr(reference, one.name) for one in fields(reference)})


def load_reference(bundle: Path) -> Reference | None:
    """Return None if the bundle has none (an earlier reconv wrote it). Raises DataError if it is damaged."""
    path = bundle / REFERENCE
    if not path.exists():
        return None
    arrays = {"validation": np.empty(0, np.uint64), **read_arrays(path)}
    wrong = arrays.keys() ^ _TYPES.keys() or {name for name in _TYPES if _is_wrong(arrays[name], _TYPES[name])}
    if wrong:
        raise DataError(f"{path} is damaged ({', '.join(sorted(wrong)[:3])}): register the model again.")
    return Reference(**arrays)


def _is_wrong(array: NDArray[Any], dtype: type[np.generic]) -> bool:
    """Return whether it is anything but a row of finite numbers that are not negative."""
    return array.dtype != dtype or array.ndim != 1 or not bool((np.isfinite(array) & (array >= 0)).all())


def content_hashes(images_N: AnyImages) -> Hashes:
    """(N,): of the pixels of each."""
    parts = [
        b"".join(blake2b(image.tobytes(), digest_size=8).digest() for image in images_N[at : at + _CHUNK])
        for at in range(0, len(images_N), _CHUNK)
    ]
    return np.frombuffer(b"".join(parts), "<u8")


def digest_of_hashes(hashes: Hashes) -> str:
    """Of a set of images."""
    return blake2b(np.sort(hashes).tobytes(), digest_size=8).hexdigest()


def statistics_of(images_N: AnyImages, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """brightness, contrast and colourfulness of images[rows], as the gate of `prepare` knows them."""
    height, width, channels = images_N.shape[1:]
    found = [fingerprints(np.asarray(images_N[rows[at : at + _CHUNK]])) for at in range(0, len(rows), _CHUNK)]
    means_NC, deviation_N = means_and_deviation(np.concatenate(found), height * width, channels)
    values = {
        "brightness": means_NC.mean(axis=1),
        "contrast": deviation_N,
        "colourfulness": np.ptp(means_NC, axis=1),
    }
    return {name: value.astype(np.float32) for name, value in values.items()}


def _spaced(count: int) -> NDArray[np.int64]:
    """At most _SAMPLE of so many, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, _SAMPLE)).astype(np.int64))
