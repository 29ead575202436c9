"""The exported classifier beside torch: raw pixels to calibrated probabilities, on the CPU.

- One CNN, that of params.yaml with its second look at the mirror image, on images of 28 x 28 x 1: torch as it serves
  (eager, inference mode), onnxruntime on `reconv export`'s file, and on that of `--quantise`.
- Once on one core, once on all; one image, and 256. Its weights are as they are drawn: no latency depends on them.
- The contenders take turns. Each turn is the median of many calls after a pause, in which the threads of the one before
  have stopped waiting for work. "Better by" is how many times faster `reconv export`'s file is.
- What 8 bits lose is measured with the first classifier that `make repro` trained, where there is one.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure import OURS, ROOT, Effort, Row, interleaved, ratio
from reconv.artifacts import Manifest
from reconv.data.arrays import PreparedData
from reconv.exporting.checking import open_session, run
from reconv.exporting.onnx import export_onnx
from reconv.exporting.quantised import CALIBRATION_IMAGES, quantise, with_8_bits
from reconv.files import write_bytes, write_json
from reconv.model_json import MODEL
from reconv.models.classifier import ImageClassifier, weights_as_bytes
from reconv.params import Params, load_params
from reconv.places import CNN, PREPARED, seed_dir
from reconv.serving.answering import Answering
from reconv.serving.bundle import SERVED, WEIGHTS, Served, write_bundle

TITLE = "ONNX: latency beside torch's, and what 8 bits cost"

_SHAPE = (28, 28, 1)
_TORCH, _FLOAT, _INT8 = "torch, eager", f"{OURS} export", f"{OURS} export --quantise"
_CALLS = {1: 200, 256: 5}
_PAUSE_SECONDS = 0.1
Answer = Callable[[NDArray[np.uint8]], object]


def measure(effort: Effort) -> list[Row]:
    repeats = 15 if effort == "full" else 1
    with tempfile.TemporaryDirectory(prefix="reconv-") as folder:
        at = Path(folder)
        bundle = _bundle_of_drawn_weights(at / "bundle", load_params(ROOT / "params.yaml"))
        exported = export_onnx(bundle, at / "model.onnx", at / "none").file
        images = np.random.default_rng(0).integers(0, 256, (CALIBRATION_IMAGES, *_SHAPE), np.uint8)
        quantised = with_8_bits(exported, images).SerializeToString()
        print(f"  {exported.stat().st_size:,} and {len(quantised):,} bytes", file=sys.stderr, flush=True)
        rows = _sizes(exported, quantised)
        for threads in sorted({1, os.cpu_count() or 1}):
            contenders = {
                _TORCH: _in_torch(Answering(bundle), threads),
                _FLOAT: _in_onnxruntime(exported.read_bytes(), threads),
                _INT8: _in_onnxruntime(quantised, threads),
            }
            for size, calls in _CALLS.items():
                rows += _latency(contenders, images[:size], threads, calls if effort == "full" else 2, repeats)
        return rows + (_accuracy(at) if effort == "full" else [])


def _bundle_of_drawn_weights(out: Path, params: Params) -> Path:
    torch.manual_seed(0)
    flips = params.recipe.test_time_flip and params.augment.flip
    names = tuple(f"class {number}" for number in range(10))
    classifier = ImageClassifier(CNN, params.models.cnn, _SHAPE, names, (73.0,), (90.0,), flips)
    write_bytes(out / WEIGHTS, weights_as_bytes(classifier))
    write_json(out / MODEL, classifier.arguments)
    Served(temperature=1.2, image_size=_SHAPE[0], channels=1, resize="crop", source="generated", data_digest="").save(
        out / SERVED
    )
    return out


def _in_torch(answering: Answering, threads: int) -> Answer:
    classifier, temperature = answering.classifier, answering.served.temperature

    def answer(images_NHWC: NDArray[np.uint8]) -> object:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            return torch.softmax(classifier(torch.from_numpy(images_NHWC)) / temperature, dim=1).numpy()

    return answer


def _in_onnxruntime(model: bytes, threads: int) -> Answer:
    session = open_session(model, threads)
    return lambda images_NHWC: run(session, images_NHWC)


def _latency(
    contenders: dict[str, Answer], images_NHWC: NDArray[np.uint8], threads: int, calls: int, repeats: int
) -> list[Row]:
    def turn(answer: Answer) -> float:
        time.sleep(_PAUSE_SECONDS)
        times = []
        for _ in range(calls + 1):
            began = time.perf_counter()
            answer(images_NHWC)
            times.append(1000 * (time.perf_counter() - began))
        return statistics.median(times[1:])

    values = interleaved({name: lambda answer=answer: turn(answer) for name, answer in contenders.items()}, repeats)
    cores = "one core" if threads == 1 else f"{threads} cores"
    quantity = f"{'one image' if len(images_NHWC) == 1 else f'{len(images_NHWC)} images'}, {cores}"
    return [
        Row(quantity, "ms", _TORCH, values[_TORCH], ratio=ratio(values[_FLOAT], values[_TORCH], lower_is_better=True)),
        Row(quantity, "ms", _FLOAT, values[_FLOAT]),
        Row(quantity, "ms", _INT8, values[_INT8], ratio=ratio(values[_FLOAT], values[_INT8], lower_is_better=True)),
    ]


def _sizes(exported: Path, quantised: bytes) -> list[Row]:
    sizes = {_FLOAT: exported.stat().st_size, _INT8: len(quantised)}
    return [Row("size of the file", "MB", name, [size / 1e6]) for name, size in sizes.items()]


def _accuracy(at: Path) -> list[Row]:
    """Of the first classifier of the last `make repro`; none without one."""
    trained, prepared = ROOT / seed_dir(CNN, 0), ROOT / PREPARED
    if not (trained / WEIGHTS).exists() or not (prepared / "manifest.json").exists():
        return []
    data = PreparedData(prepared)
    write_bundle(at / "trained", trained, 1.0, Manifest.load(prepared / "manifest.json"), "crop")
    exported = export_onnx(at / "trained", at / "trained.onnx", prepared)
    done = quantise(exported.file, data, at / "trained.int8.onnx")
    quantity = f"accuracy on {done.test_images:,} test images"
    note = f"{trained.relative_to(ROOT)}, probabilities within {exported.max_difference:.1g} of torch's"
    loss = f"loss {done.loss_points:.2f} points: {done.lost} right answers lost, {done.won} won"
    return [
        Row(quantity, "%", _FLOAT, [100 * done.float_accuracy], note=note),
        Row(quantity, "%", _INT8, [100 * done.int8_accuracy], note=loss),
    ]
