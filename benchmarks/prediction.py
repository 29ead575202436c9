"""A registered classifier's answers to many images: how near to the bare forward pass, and to bare decoding.

params.yaml's CNN. `reconv predict` as a person calls it, except that it is called in this process: Ray and its workers
start within it, every answer is written to a table. Its images a second are those between the first answers and the
last, as for the others, whose processes and models are there before their clocks run; the whole command's seconds are
a row of their own.

- Packed pixels (28 x 28 x 1): against the bare forward pass over the same array, in the same batches, nothing else:
  with one thread in each of as many processes as there are cores, and with all threads in one; the faster counts.
- 20,000 JPEGs of 500 x 375 for a classifier of 64 x 64 x 3: against bare decoding and resizing in as many processes as
  there are cores (own_images.py), and against what is left of it when the same cores also compute the forward pass.
- Memory of all processes, a tenth of the images and all of them: it may not grow.
"""

import multiprocessing
import os
import sys
import tempfile
import time
from contextlib import chdir
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from benchmarks.bundles import bundle_in
from benchmarks.measure import OURS, Effort, PeakMemory, Row, interleaved
from benchmarks.own_images import bare_decoding_seconds
from benchmarks.photographs import generated
from reconv.params import THIS_MACHINE
from reconv.prediction.predict import predict
from reconv.serving.answering import BATCH_SIZE, Answering

TITLE = "Prediction: a registered classifier's answers to many images"

_BARE = "bare forward pass"
_CEILING, _BOTH = "bare decoding", "bare decoding and bare forward pass on the same cores"
_BATCH = BATCH_SIZE


def measure(effort: Effort) -> list[Row]:
    full = effort == "full"
    repeats = 3 if full else 1
    with tempfile.TemporaryDirectory(prefix="reconv-prediction-") as folder, chdir(folder):
        return [
            *_packed(400_000 if full else 9_000, repeats),
            *_files(20_000 if full else 5_000, repeats),
        ]


def _packed(num_images: int, repeats: int) -> list[Row]:
    bundle, pixels = bundle_in(Path("packed"), 28, 1).resolve(), Path("pixels.npy").resolve()
    np.save(pixels, np.random.default_rng(0).integers(0, 256, (num_images, 28, 28, 1), dtype=np.uint8))
    few = Path("few.npy").resolve()
    np.save(few, np.load(pixels, mmap_mode="r")[: num_images // 10])
    whole: list[float] = []

    def ours() -> float:
        return _ours(pixels, bundle, whole)

    values = interleaved({OURS: ours, _BARE: lambda: _bare(pixels, bundle)}, repeats)
    share = [100 * our / bare for our, bare in zip(values[OURS], values[_BARE], strict=True)]
    what = f"images/s, {num_images:,} packed images of 28 x 28 x 1"
    return [
        Row(what, "images/s", OURS, values[OURS]),
        Row(what, "images/s", _BARE, values[_BARE]),
        Row("packed images, of the bare forward pass", "%", OURS, share, bar=">= 90 %"),
        Row("the whole command, packed images", "s", OURS, whole, note="Ray's start and the table included"),
        Row(
            f"memory of all processes, {len(np.load(few, mmap_mode='r')):,} images", "MB", OURS, [_memory(few, bundle)]
        ),
        Row(f"memory of all processes, {num_images:,} images", "MB", OURS, [_memory(pixels, bundle)]),
    ]


def _files(num_images: int, repeats: int) -> list[Row]:
    bundle, photographs = bundle_in(Path("files"), 64, 3).resolve(), generated(num_images)
    pixels = Path("forward.npy").resolve()
    np.save(pixels, np.random.default_rng(0).integers(0, 256, (num_images, 64, 64, 3), dtype=np.uint8))
    whole: list[float] = []
    contenders = {
        OURS: lambda: _ours(photographs, bundle, whole),
        _CEILING: lambda: num_images / bare_decoding_seconds(photographs),
        _BARE: lambda: _bare(pixels, bundle),
    }
    values = interleaved(contenders, repeats)
    both = [1 / (1 / decode + 1 / forward) for decode, forward in zip(values[_CEILING], values[_BARE], strict=True)]
    of_decoding, of_both = (
        [100 * our / bare for our, bare in zip(values[OURS], those, strict=True)] for those in (values[_CEILING], both)
    )
    what = f"images/s, {num_images:,} JPEGs of 500 x 375 to 64 x 64 x 3"
    return [
        Row(what, "images/s", OURS, values[OURS]),
        Row(what, "images/s", _CEILING, values[_CEILING]),
        Row(what, "images/s", _BOTH, both),
        Row("JPEGs, of bare decoding", "%", OURS, of_decoding, note="which the forward pass is no part of"),
        Row("JPEGs, of bare decoding and forward pass", "%", OURS, of_both, bar=">= 90 %"),
        Row("the whole command, JPEGs", "s", OURS, whole, note="Ray's start and the table included"),
    ]


def _ours(location: Path, bundle: Path, whole: list[float]) -> float:
    began = time.perf_counter()
    done = predict(str(location), bundle, Path("answers.parquet"), THIS_MACHINE)
    whole.append(time.perf_counter() - began)
    print(f"  {done.images:,} images in {whole[-1]:.1f} s", file=sys.stderr, flush=True)
    return done.images / done.seconds


def _memory(pixels: Path, bundle: Path) -> float:
    with PeakMemory(every_seconds=0.5) as memory:
        predict(str(pixels), bundle, Path("answers.parquet"), THIS_MACHINE)
    return memory.peak_bytes / 1e6


def _bare(pixels: Path, bundle: Path) -> float:
    """Images a second, the faster of both ways."""
    cores = os.cpu_count() or 1
    num_images = len(np.load(pixels, mmap_mode="r"))
    one = num_images / _forward((pixels, bundle, 0, num_images, cores))
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(cores) as pool:
        pool.map(_forward, [(pixels, bundle, 0, _BATCH, 1)] * cores, chunksize=1)  # they are there, models loaded
        edges = np.linspace(0, num_images, cores + 1).astype(int)
        parts = [(pixels, bundle, int(start), int(stop), 1) for start, stop in pairwise(edges)]
        many = num_images / max(pool.map(_forward, parts, chunksize=1))
    print(f"  bare: {one:,.0f} images/s in one process, {many:,.0f} in {cores}", file=sys.stderr, flush=True)
    return max(one, many)


def _forward(task: tuple[Path, Path, int, int, int]) -> float:
    """Seconds."""
    pixels, bundle, start, stop, threads = task
    torch.set_num_threads(threads)
    classifier = Answering(bundle).classifier
    images = torch.from_numpy(np.array(np.load(pixels, mmap_mode="r")[start:stop]))
    with torch.inference_mode():
        classifier(images[:_BATCH])
        began = time.perf_counter()
        for at in range(0, len(images), _BATCH):
            classifier(images[at : at + _BATCH])
        return time.perf_counter() - began
