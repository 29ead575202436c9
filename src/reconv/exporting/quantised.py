"""An exported classifier -> the same with weights and activations of 8 bits, and what that costs in accuracy.

Static quantisation by onnxruntime, in its QDQ format. The ranges of the activations come from training images, the loss
is measured on the test images.

N images, H height, W width, C channels, K classes.
"""

import json
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reconv.data.arrays import PreparedData, Split
from reconv.exporting.checking import IMAGES, SEEN, batch_size, open_session, require_packages, run
from reconv.files import write_bytes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto
    from onnxruntime import InferenceSession

CALIBRATION_IMAGES = 512
# All activations of a batch are in memory at once, not only those of one layer: 16 images through MaxViT take 15 GB.
_CALIBRATION_SHARE = 16
_LAYERS = frozenset({"Conv", "Gemm", "MatMul"})
# Scale and shift of a normalisation that could not be merged into a layer; as 8 bits they would be rounded twice.
_KEPT_IN_FLOAT = frozenset({"BatchNormalization", "LayerNormalization", "Softmax"})
_WARM_UP, _MIN_REPEATS, _MAX_REPEATS, _REPEAT_SECONDS = 2, 5, 50, 1.0


@dataclass(frozen=True)
class Latency:
    batch: int
    float_ms: float
    int8_ms: float


@dataclass(frozen=True)
class Quantised:
    file: Path
    size_bytes: int
    test_images: int
    float_accuracy: float
    int8_accuracy: float
    loss_points: float
    """Percentage points of accuracy; below 0 where it won some."""
    lost: int
    won: int
    """Test images that it alone gets wrong, and right."""
    latency: tuple[Latency, ...]
    """On one core of this machine."""


def quantise(exported: Path, data: PreparedData, out: Path) -> Quantised:
    """Write the ONNX file `exported`, whose images are like those of `data`, with 8 bits to `out`, and measure both.

    Raises:
        ExportError: `exported` cannot be run, or not with these images.
        DataError: images are missing.
    """
    require_packages()
    import onnx

    original, test = exported.read_bytes(), data.test
    properties = _properties_of(onnx.load_from_string(original))
    at_once = _batch_size_of(properties)
    float_right_N = _is_right(open_session(original), test, at_once)
    calibration_NHWC = _spread(data.train, CALIBRATION_IMAGES)
    model = with_8_bits(exported, calibration_NHWC)
    int8_right_N = _is_right(open_session(model.SerializeToString()), test, at_once)
    accuracy, int8_accuracy = float(float_right_N.mean()), float(int8_right_N.mean())
    of_8_bits = {
        "quantisation": f"int8, calibrated on {len(calibration_NHWC)} training images",
        "test_accuracy": f"{int8_accuracy:.6f}",
        "test_accuracy_before_quantisation": f"{accuracy:.6f}",
    }
    onnx.helper.set_model_props(model, properties | of_8_bits)
    content = model.SerializeToString()
    write_bytes(out, content)
    largest = np.asarray(test.images[:at_once])
    return Quantised(
        file=out,
        size_bytes=len(content),
        test_images=len(test),
        float_accuracy=accuracy,
        int8_accuracy=int8_accuracy,
        loss_points=100 * (accuracy - int8_accuracy),
        lost=int((float_right_N & ~int8_right_N).sum()),
        won=int((~float_right_N & int8_right_N).sum()),
        latency=tuple(_latency(original, content, images_NHWC) for images_NHWC in (largest[:1], largest)),
    )


def with_8_bits(exported: Path, calibration_NHWC: NDArray[np.uint8]) -> "ModelProto":
    """The ONNX file `exported` with 8 bits, its activations' ranges those that `calibration_NHWC` gives them.

    As measured best on Fashion-MNIST's 10,000 test images: the CNN of params.yaml, 92.57 % accurate before, has
    92.59 %, and with one scale for all channels of a layer 92.45 %. With the last layer and the softmax in 8 bits too,
    its log loss rises from 0.236 to 0.243. Ranges that leave out rare values (percentiles, entropy) gain nothing.
    Signed activations are as good, but on x86 MobileNet-V3 takes 2.5 times as long with them.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    at_once = max(1, _batch_size_of(_properties_of(onnx.load(exported))) // _CALIBRATION_SHARE)
    with TemporaryDirectory(prefix="reconv-") as folder:
        merged, quantised = Path(folder) / "merged.onnx", Path(folder) / "quantised.onnx"
        # Normalisations become part of the layers before them. Symbolic shapes are for transformers of many lengths.
        quant_pre_process(str(exported), str(merged), skip_symbolic_shape=True)
        _share_equal_weights(merged)
        quantize_static(
            str(merged),
            str(quantised),
            _calibration_reader(calibration_NHWC, at_once),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            # Weights of 7 bits, for up to 0.2 points: x86 processors without VNNI add two products of 8 bits in 16,
            # which overflow, so that what is measured here would not hold there.
            reduce_range=True,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=[node.name for node in _in_float(onnx.load(merged))],
        )
        return onnx.load(quantised)


def _properties_of(model: "ModelProto") -> dict[str, str]:
    return {prop.key: prop.value for prop in model.metadata_props}


def _batch_size_of(properties: Mapping[str, str]) -> int:
    return batch_size(json.loads(properties[SEEN]))


def _share_equal_weights(file: Path) -> None:
    """Of layers that look at the image and at its mirror image: merging gave each a copy. Each node gets a name too, by
    which it can be left out."""
    import onnx_ir
    from onnx_ir.passes import common

    model = onnx_ir.load(file)
    for step in (common.DeduplicateInitializersPass(size_limit=2**31), common.NameFixPass()):
        step(model)
    onnx_ir.save(model, file)


def _in_float(model: "ModelProto") -> "Iterator[NodeProto]":
    """The last layer and all after it, and normalisations."""
    makers = {output: node for node in model.graph.node for output in node.output}
    pending, seen = [output.name for output in model.graph.output], set()
    while pending:
        node = makers.get(pending.pop())
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        if node.op_type not in _LAYERS:
            pending += node.input
    return (node for node in model.graph.node if node.name in seen or node.op_type in _KEPT_IN_FLOAT)


def _calibration_reader(images_NHWC: NDArray[np.uint8], at_once: int) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._starts = iter(range(0, len(images_NHWC), at_once))

        def get_next(self) -> Mapping[str, NDArray[np.uint8]] | None:
            start = next(self._starts, None)
            return None if start is None else {IMAGES: images_NHWC[start : start + at_once]}

    return Reader()


def _spread(split: Split, count: int) -> NDArray[np.uint8]:
    rows = np.unique(np.linspace(0, len(split) - 1, count).astype(np.int64))
    return np.ascontiguousarray(split.images[rows])


def _is_right(session: "InferenceSession", split: Split, at_once: int) -> NDArray[np.bool_]:
    answers = [
        run(session, np.asarray(split.images[start : start + at_once])).argmax(axis=1)
        for start in range(0, len(split), at_once)
    ]
    right_N: NDArray[np.bool_] = np.concatenate(answers) == split.labels
    return right_N


def _latency(original: bytes, quantised: bytes, images_NHWC: NDArray[np.uint8]) -> Latency:
    """Medians; the two take turns, so that whatever else the machine does slows both."""
    sessions = open_session(original, threads=1), open_session(quantised, threads=1)
    times: tuple[list[float], list[float]] = ([], [])
    began = time.perf_counter()
    for repeat in range(_WARM_UP + _MAX_REPEATS):
        for session, of_session in zip(sessions, times, strict=True):
            start = time.perf_counter()
            run(session, images_NHWC)
            of_session.append(1000 * (time.perf_counter() - start))
        if repeat >= _WARM_UP + _MIN_REPEATS - 1 and time.perf_counter() - began > _REPEAT_SECONDS:
            break
    float_ms, int8_ms = (statistics.median(of_session[_WARM_UP:]) for of_session in times)
    return Latency(len(images_NHWC), float_ms, int8_ms)
