"""A bundle -> one ONNX file that answers raw pixels as the bundle does.

N images, H height, W width, C channels, K classes.
"""

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reconv.errors import DataError
from reconv.exporting.checking import (
    IMAGES,
    LOGITS,
    PROBABILITIES,
    SEEN,
    TOLERANCE,
    ExportError,
    check,
    images_to_check,
    require_packages,
)
from reconv.files import write_bytes
from reconv.places import PREPARED
from reconv.serving.answering import Answering

if TYPE_CHECKING:
    from onnx import ModelProto

_MAX_BYTES = 2**31  # of a protocol buffer, which an ONNX file is
_RESIZED = {
    "crop": "the shorter side resized and the centre kept",
    "pad": "the longer side resized and black added",
    "stretch": "resized without its proportions",
}


@dataclass(frozen=True)
class Exported:
    file: Path
    size_bytes: int
    max_difference: float
    """Of a probability between onnxruntime and torch."""
    tolerance: float
    images: int
    """Different ones that both answered; few are repeated to fill the batches."""
    kind: str
    """What these images were."""
    inside: str
    outside: str
    """What becomes of an image inside of the file, and what has to be done before."""


def export_onnx(bundle: Path, out: Path, prepared: Path = PREPARED) -> Exported:
    """Write the bundle's classifier to `out`, after onnxruntime gave the same answers as torch.

    Input `images` uint8 (N, H, W, C), outputs `probabilities`, calibrated, and `logits`, float32 (N, K); any N.

    Raises:
        ExportError: packages are missing, the network cannot be exported, or its answers differ. Nothing is written.
        DataError: `out` is no name of an ONNX file, or the bundle is damaged.
    """
    require_packages()
    if out.suffix != ".onnx":
        raise DataError(f"--out is {out}, must end in .onnx.")
    answering = Answering(bundle)
    content = onnx_of(answering).SerializeToString()
    images_NHWC, kind = images_to_check(bundle, answering.classifier.input_shape, prepared)
    difference = check(content, answering, images_NHWC)
    write_bytes(out, content)
    inside, outside = steps_of(answering)
    num_images = len({image.tobytes() for image in images_NHWC})
    return Exported(out, len(content), difference, TOLERANCE, num_images, kind, inside, outside)


def onnx_of(answering: Answering) -> "ModelProto":
    """Unchecked. The same bundle gives the same bytes."""
    import onnx

    weights_bytes = sum(tensor.nbytes for tensor in answering.classifier.state_dict().values())
    if weights_bytes >= _MAX_BYTES:
        raise ExportError(
            f"the model's weights take {weights_bytes / 2**30:.1f} GiB, an ONNX file holds less than "
            f"{_MAX_BYTES / 2**30:g} GiB: export a smaller network."
        )
    # Two images: a batch of one would be taken for the only size.
    example_NHWC = torch.zeros((2, *answering.image_shape), dtype=torch.uint8)
    try:
        program = torch.onnx.export(
            _Answers(answering).eval(),
            (example_NHWC,),
            input_names=[IMAGES],
            output_names=[PROBABILITIES, LOGITS],
            dynamic_shapes=({0: "N"},),
            dynamo=True,
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ExportError(f"torch cannot export this network to ONNX ({reason}): export another version.") from None
    assert program is not None
    model: ModelProto = program.model_proto
    leave_out_traces(model)
    model.graph.name = "reconv"
    model.doc_string = _described(answering)
    onnx.helper.set_model_props(model, _metadata(answering))
    onnx.checker.check_model(model, full_check=True)
    return model


def leave_out_traces(model: "ModelProto") -> None:
    """Each node's line of Python source, and with it paths of this machine."""
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info, model.graph):
        del part.metadata_props[:]


def steps_of(answering: Answering) -> tuple[str, str]:
    """What becomes of an image inside of the file, and what has to be done before, each as a sentence's part."""
    (height, width, channels), seen = answering.image_shape, answering.classifier.input_shape
    inside = ["the scaling of the pixels"]
    if seen[2] != channels:
        inside.append(f"the repetition of grey as {seen[2]} channels")
    if seen[:2] != (height, width):
        inside.append(f"the resizing to {seen[0]} x {seen[1]}")
    if answering.classifier.flips:
        inside.append("the second look at the mirror image")
    inside.append(f"the calibration at temperature {answering.served.temperature:.3g}")
    colours = "grey" if channels == 1 else "red, green and blue"
    resized = _RESIZED[answering.conversion.resize]
    outside = f"decode the file, turn it upright (EXIF), make it {colours} and {height} x {width} pixels, {resized}"
    black, white = answering.conversion.value_range
    return ", ".join(inside), (
        f"{outside} (bilinear, as Pillow does it); transparency: {answering.conversion.transparency}; of images with "
        f"more than 8 bits {black} becomes 0 and {white} 255"
    )


class _Answers(nn.Module):
    def __init__(self, answering: Answering) -> None:
        super().__init__()
        self._classifier = answering.classifier
        self._temperature = answering.served.temperature

    def forward(self, images_NHWC: Tensor) -> tuple[Tensor, Tensor]:
        logits_NK = self._classifier(images_NHWC)
        return torch.softmax(logits_NK / self._temperature, dim=1), logits_NK


def _described(answering: Answering) -> str:
    shape, (inside, outside) = " x ".join(map(str, answering.image_shape)), steps_of(answering)
    return (
        f"Image classifier, exported by reconv {version('reconv')}.\n"
        f"Input `{IMAGES}`: uint8, N x {shape}, pixels of 0 to 255, any N.\n"
        f"Before: {outside}.\n"
        f"Inside: {inside}.\n"
        f"Outputs, float32, a column per class in the order of the metadata's class_names: `{PROBABILITIES}`, "
        f"calibrated; `{LOGITS}`, not divided by the temperature."
    )


def _metadata(answering: Answering) -> dict[str, str]:
    served = answering.served
    return {
        "class_names": json.dumps(answering.class_names, ensure_ascii=False),
        "image_size": str(served.image_size),
        "channels": str(served.channels),
        "resize": served.resize,
        "transparency": served.transparency,
        "value_range": json.dumps(served.value_range),
        SEEN: json.dumps(answering.classifier.input_shape),
        "temperature": repr(served.temperature),
        "source": served.source,
        "data_digest": served.data_digest,
        "reconv_version": version("reconv"),
    }
