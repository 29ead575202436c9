"""An ONNX file against the classifier that it was made of: the same images to both, in batches of several sizes.

N images, H height, W width, C channels, K classes.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reconv.data.arrays import PreparedData
from reconv.errors import DataError, ReconvError
from reconv.model_json import read_model_json
from reconv.places import PREPARED
from reconv.serving.answering import Answering
from reconv.serving.bundle import read_served

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

IMAGES, PROBABILITIES, LOGITS = "images", "probabilities", "logits"
"""Names of the input and of the outputs."""
SEEN = "seen_by_network"
"""Key of the metadata: height, width and channels after the resizing inside, as JSON."""
TOLERANCE = 1e-4
"""Of each probability. Networks of ours differ by 1e-6 and less, which is rounding; an operator that computes something
else, such as another way of resizing, differs by a percent."""
_PACKAGES = ("onnx", "onnxscript", "onnx_ir", "onnxruntime")
_SMALL_BATCHES = (1, 2, 7)
# Of the large batch, and of a batch wherever a file is measured: 256 images of 28 x 28, 20 of 224 x 224.
_MAX_IMAGES, _MIN_IMAGES, _MAX_PIXELS = 256, 16, 2**20


class ExportError(ReconvError):
    """A classifier cannot be exported, or what was exported is not that classifier."""


def require_packages() -> None:
    """Raises ExportError unless the packages of the extra `onnx` are there."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise ExportError(f"{' and '.join(missing)} is missing: pip install 'reconv[onnx]'.")


def prepared_for(bundle: Path, folder: Path = PREPARED) -> PreparedData:
    """The prepared images, if they are of the bundle's shape and classes.

    Raises:
        DataError: there are none, or they are of another kind.
    """
    if not (folder / "manifest.json").exists():
        raise DataError(
            f"{folder} holds no images, and without them no 8 bits can be chosen nor their loss of accuracy measured: "
            "`reconv run prepare` makes them."
        )
    data = PreparedData(folder)
    shape, class_names = read_served(bundle).conversion.shape, read_model_json(bundle).class_names
    found = data.manifest
    if found.image_shape != shape:
        raise DataError(
            f"{folder} holds images of {_shown(found.image_shape)}, the model takes {_shown(shape)}: `reconv run "
            "prepare` with its data.source and data.image_size in params.yaml makes those it was trained on."
        )
    if found.class_names != class_names:
        raise DataError(
            f"{folder} holds images of {_listed(found.class_names)}, the model knows {_listed(class_names)}: `reconv "
            "run prepare` with its data.source in params.yaml makes those it was trained on."
        )
    return data


def images_to_check(bundle: Path, seen: tuple[int, ...], folder: Path = PREPARED) -> tuple[NDArray[np.uint8], str]:
    """(N, H, W, C) for `check`, and what they are: test images where there are any, else random ones. `seen` as
    `batch_size` wants it."""
    shape = read_served(bundle).conversion.shape
    count = sum(_SMALL_BATCHES) + batch_size(seen)
    try:
        test = prepared_for(bundle, folder).test
    except DataError:
        return np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8), "random images"
    rows = np.linspace(0, len(test) - 1, count).astype(np.int64)
    return np.ascontiguousarray(test.images[rows]), "test images"


def batch_size(seen: tuple[int, ...]) -> int:
    """Of which the network sees (H, W, C) each: as many as there is memory for their activations on any machine."""
    return min(_MAX_IMAGES, max(_MIN_IMAGES, _MAX_PIXELS // (seen[0] * seen[1])))


def check(model: bytes, answering: Answering, images_NHWC: NDArray[np.uint8], tolerance: float = TOLERANCE) -> float:
    """The largest difference between a probability of onnxruntime's and of the classifier itself, over batches of 1, 2,
    7 and all images that are left of `images_NHWC`.

    Raises:
        ExportError: it is above `tolerance`, or `model` is no ONNX file that runs.
    """
    session = open_session(model)
    largest, start = 0.0, 0
    for size in (*_SMALL_BATCHES, len(images_NHWC) - sum(_SMALL_BATCHES)):
        batch_NHWC = images_NHWC[start : start + size]
        start += size
        expected_NK = answering.probabilities(batch_NHWC)
        found_NK = run(session, batch_NHWC)
        if found_NK.shape != expected_NK.shape:
            raise ExportError(
                f"the exported file answers {size} images by {_shown(found_NK.shape)} probabilities, must be "
                f"{_shown(expected_NK.shape)}: it is of another model; export it anew."
            )
        difference = float(np.abs(found_NK - expected_NK).max())
        if not difference <= tolerance:  # so that NaN is refused too
            raise ExportError(
                f"the exported file's probabilities differ from the model's by {difference:.2g} in a batch of {size}, "
                f"must be at most {tolerance:g}: export it anew. If that changes nothing, onnxruntime computes a layer "
                "of this network in another way than torch; export a model of another network."
            )
        largest = max(largest, difference)
    return largest


def open_session(model: bytes, threads: int = 0) -> "InferenceSession":
    """On the CPU; 0 threads are one per core.

    Raises:
        ExportError: it is no ONNX file that onnxruntime can run.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors alone
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # classes of its own, with no common one below Exception
        raise ExportError(f"the exported file cannot be run by onnxruntime ({_first_line(error)}).") from None


def run(session: "InferenceSession", images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probabilities (N, K).

    Raises:
        ExportError: it takes other images.
    """
    try:
        (probabilities_NK,) = session.run([PROBABILITIES], {IMAGES: images_NHWC})
    except Exception as error:  # as above
        shown = _shown(images_NHWC.shape)
        raise ExportError(f"the exported file does not answer images of {shown} ({_first_line(error)}).") from None
    return np.asarray(probabilities_NK, np.float32)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _listed(names: tuple[str, ...]) -> str:
    return f"{len(names)} classes ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
