"""Do time and memory grow as they should? prepare, one epoch of training, and evaluate, at more and at larger images.

Generated images (uint8, ten classes, a pattern of the class under noise), written straight to data/raw's files. Each
step runs in a process of its own and times the step alone, without imports. Linear means that the seconds per 10,000
images, and per 784 pixels of them, stay the same. Flat means that the peak of the process's own memory does: RssAnon,
sampled from outside every 20 ms, which leaves out mapped file pages (the images), since the system takes those back
whenever it needs them. It contains Python, NumPy and torch: 0.1 GB in prepare, 0.3 GB in the others.

- More images, 28 x 28 x 1, the feed-forward network, so that a million takes minutes. evaluate gets them all as its
  test images. Its table of predictions has a row per image, which is not flat.
- Larger images, three channels, the CNN with params.yaml's values. A batch's activations grow with the pixels.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks.measure import OURS, ROOT, Effort, PeakMemory, Row, own_bytes

TITLE = "Growth: seconds per image and the process's own memory, from 10,000 to a million images, from 28 to 224 pixels"
SOURCE = "mnist"  # of the raw files; any published set's name will do
_CHUNK = 10_000
_SEED = 0
_WARM_UP_IMAGES = 1280


@dataclasses.dataclass(frozen=True)
class Size:
    images: int
    pixels: int
    channels: int
    model: str
    repeats: int

    @property
    def name(self) -> str:
        return f"{self.images:,} images of {self.pixels} x {self.pixels} x {self.channels}"

    @property
    def units(self) -> float:
        """How many times 10,000 images of 28 x 28 x 1."""
        return self.images / 10_000 * self.pixels**2 * self.channels / 784


MORE = [Size(10_000, 28, 1, "feedforward", 2), Size(100_000, 28, 1, "feedforward", 1)]
MILLION = Size(1_000_000, 28, 1, "feedforward", 1)
LARGER = [Size(10_000, 28, 3, "cnn", 2), Size(10_000, 56, 3, "cnn", 1), Size(10_000, 112, 3, "cnn", 1)]
LARGEST = Size(2_500, 224, 3, "cnn", 1)  # fewer, as 10,000 would take minutes


def measure(effort: Effort) -> list[Row]:
    if effort == "quick":
        series = [[Size(2_000, 28, 1, "feedforward", 1), Size(4_000, 28, 1, "feedforward", 1)]]
    else:
        series = [[*MORE, MILLION], [*LARGER, LARGEST]]
    return [row for sizes in series for row in _grow(sizes)]


def _grow(sizes: list[Size]) -> list[Row]:
    seconds: dict[tuple[str, Size], list[float]] = {}
    peaks: dict[tuple[str, Size], list[float]] = {}
    for turn in range(max(size.repeats for size in sizes)):
        for size in sizes if turn % 2 == 0 else reversed(sizes):
            if turn >= size.repeats:
                continue
            for step, (took, peak) in _run_steps(size).items():
                seconds.setdefault((step, size), []).append(took / size.units)
                peaks.setdefault((step, size), []).append(peak / 1e6)
                print(f"  {step}, {size.name}: {took:.2f} s, {peak / 1e6:,.0f} MB", file=sys.stderr, flush=True)
    rows = []
    for step in STEPS:
        for quantity, unit, values in (
            ("per 10,000 images and 784 pixels", "s", seconds),
            ("peak of its own memory", "MB", peaks),
        ):
            smallest = float(np.median(values[step, sizes[0]]))
            for size in sizes:
                measured = values[step, size]
                note = f"{np.median(measured) / smallest:.2f} x that of the smallest" if size != sizes[0] else ""
                what = step if step == "prepare" else f"{step} ({size.model})"
                rows.append(Row(f"{what}, {size.name}: {quantity}", unit, OURS, measured, note=note))
    return rows


def _run_steps(size: Size) -> dict[str, tuple[float, float]]:
    """Step -> seconds, peak bytes of the process's own memory."""
    build = ROOT / "build" / "benchmarks"
    build.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="growth-", dir=build) as folder:
        _generate(Path(folder) / "raw", size)
        return {step: _run_step(step, Path(folder), size.model) for step in STEPS}


def _generate(raw: Path, size: Size) -> None:
    """What `fetch` leaves: images, labels and source.json with their SHA-256; a tenth as many test images."""
    from reconv.artifacts import RawSource
    from reconv.files import sha256_of_file

    raw.mkdir()
    rng = np.random.default_rng(0)
    shape = (size.pixels, size.pixels, size.channels)
    patterns = rng.integers(0, 128, (10, *shape), np.uint8)
    for split, count in (("train", size.images), ("test", size.images // 10)):
        labels = rng.permutation(np.arange(count) % 10)
        np.save(raw / f"{split}-labels.npy", labels)
        images = np.lib.format.open_memmap(raw / f"{split}-images.npy", "w+", np.uint8, (count, *shape))
        step = max(1, _CHUNK * 784 // patterns[0].size)
        for start in range(0, count, step):
            chosen = patterns[labels[start : start + step]]
            images[start : start + step] = chosen + rng.integers(0, 128, chosen.shape, np.uint8)
        images.flush()
    names = sorted(path.name for path in raw.iterdir())
    files = {name: sha256_of_file(raw / name) for name in names}
    RawSource(source=SOURCE, class_names=tuple("0123456789"), files=files).save(raw / "source.json")


def _run_step(step: str, folder: Path, model: str) -> tuple[float, float]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.growth", step, str(folder), model],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with PeakMemory(process.pid, every_seconds=0.02, bytes_of=own_bytes) as memory:
        said, complaints = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{step} ended with {process.returncode}:\n{complaints[-3000:]}")
    return float(json.loads(said.splitlines()[-1])["seconds"]), float(memory.peak_bytes)


def _prepare(folder: Path, _: str) -> float:
    from reconv.data.packing import prepare
    from reconv.params import load_params

    params = load_params().data.model_copy(update={"source": SOURCE})
    began = time.perf_counter()
    prepare(params, folder / "raw", folder / "prepared", folder / "decoded", lambda *_: None)
    return time.perf_counter() - began


def _train(folder: Path, model: str) -> float:
    """One epoch, after a few steps that load what torch loads late; leaves the weights for `evaluate`."""
    import torch

    from reconv.data.arrays import PreparedData, Split
    from reconv.params import load_params
    from reconv.training.fit import fit
    from reconv.training.job import jobs_for

    torch.set_num_threads(psutil.cpu_count(logical=True) or 1)
    data = PreparedData(folder / "prepared")
    job = dataclasses.replace(jobs_for(model, load_params(), [{}])[0], epochs=1)
    few = Split(data.train.images[:_WARM_UP_IMAGES], data.train.labels[:_WARM_UP_IMAGES])
    fit(job, data.manifest, few, None, lambda *_: None)
    result = fit(job, data.manifest, data.train, None, lambda *_: None)
    trained = folder / f"seed-{_SEED}"
    trained.mkdir()
    (trained / "weights.safetensors").write_bytes(result.weights)
    (trained / "model.json").write_text(json.dumps(result.arguments))
    return result.curve[0].seconds


def _evaluate(folder: Path, _: str) -> float:
    """With all development images as test images and one seed."""
    import torch._dynamo  # noqa: F401  counting multiply-adds loads it, a second whatever the number of images

    from reconv.artifacts import Manifest, TrainingCost
    from reconv.data.arrays import PreparedData
    from reconv.evaluation.evaluate import evaluate
    from reconv.params import load_params

    all_of_them = folder / "evaluate"
    all_of_them.mkdir()
    prepared = (folder / "prepared").resolve()
    for kind in ("images", "labels"):
        for split in ("development", "test"):
            (all_of_them / f"{split}-{kind}.npy").symlink_to(prepared / f"development-{kind}.npy")
    (all_of_them / "data_report.json").symlink_to(prepared / "data_report.json")
    manifest = Manifest.load(prepared / "manifest.json")
    counts = {**manifest.counts, "test": manifest.counts["train"] + manifest.counts["validation"]}
    manifest.model_copy(update={"counts": counts}).save(all_of_them / "manifest.json")
    cost = TrainingCost(
        device_seconds=(0.0,), energy=None, wall_seconds=0, images_per_second=0, device="cpu", precision="32-true"
    )
    data = PreparedData(all_of_them)
    params = load_params().evaluate.model_copy(update={"latency_batch_sizes": [1]})
    began = time.perf_counter()
    evaluate({_SEED: folder / f"seed-{_SEED}"}, data, cost, params)
    return time.perf_counter() - began


STEPS = {"prepare": _prepare, "an epoch": _train, "evaluate": _evaluate}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description="One step; measure() calls it.")
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("model")
    arguments = parser.parse_args()
    print(json.dumps({"seconds": STEPS[arguments.step](arguments.folder, arguments.model)}))
