"""A folder of photographs -> prepared arrays: how near to the bare decoding, and how memory and new images count.

20,000 generated JPEGs of 500 x 375 pixels in four folders become 64 x 64 x 3: the shorter side resized, the centre
kept. Every contender but the ceiling is a fresh process; counted is its call, which the processes that it starts are
part of, not its imports and not the listing of the files before it (ours is `fetch`, a row of its own).

- The ceiling: as many processes as there are cores, each decoding and resizing its share, nothing else: no listing, no
  checksums, nothing written, and the processes are there before the clock runs. It asks the JPEG decoder for a smaller
  scale, as ours does.
- reconv: `fetch` (every file read, hashed, its header looked at) and `prepare` (decoded, checked, split, packed) as the
  stages call them, into empty folders.
- torchvision's ImageFolder and a DataLoader with two workers: one pass over all images, which every epoch repeats.
- Hugging Face's datasets, `map` in two processes, into an empty cache.
- litdata's `optimize` with two workers, into an empty folder. Its function is the user's own, therefore once more with
  the smaller scale of the decoder, which its documentation does not speak of.
- Memory of all processes, mapped files left out, with a tenth of the images and with all, in runs that are not timed;
  and the time after 1 % was added.

The three peers decode at full size, as their documentation has it: `peers/` says how each was written down.
"""

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from benchmarks.image_peers import TORCHVISION, against, are_installed, run_peer
from benchmarks.measure import OURS, Effort, Ran, Row, interleaved, run_command
from benchmarks.photographs import generated
from benchmarks.preparing import MORE, SIDE

TITLE = "Your own images: from JPEGs to prepared arrays"

_CEILING = "bare decoding and resizing"
_PEERS = {
    TORCHVISION: ["torchvision_folder"],
    "Hugging Face datasets, map": ["huggingface_datasets"],
    "litdata.optimize": ["litdata_optimize"],
    "litdata.optimize, scaled decoding": ["litdata_optimize", "--scaled"],
}


def measure(effort: Effort) -> list[Row]:
    num_images, repeats = (20_000, 3) if effort == "full" else (400, 1)
    folder = generated(num_images)
    ours: list[Ran] = []

    def run_ours() -> float:
        ours.append(_prepared(folder))
        return num_images / _seconds(ours[-1], "prepare")

    peers = {name: command for name, command in _PEERS.items() if name == TORCHVISION or are_installed()}
    contenders = {OURS: run_ours, _CEILING: lambda: num_images / bare_decoding_seconds(folder)}
    contenders |= {name: _peer(command, folder, num_images) for name, command in peers.items()}
    values = interleaved(contenders, repeats)
    few, many = ([_own_megabytes(images) for _ in range(repeats)] for images in (generated(num_images // 10), folder))
    of_ceiling = [100 * our / bare for our, bare in zip(values[OURS], values[_CEILING], strict=True)]
    added = [_seconds(ran, "prepare" + MORE) for ran in ours]
    speed = "images/s of prepare"
    return [
        Row(speed, "images/s", OURS, values[OURS]),
        Row(speed, "images/s", _CEILING, values[_CEILING]),
        *(against(speed, name, values) for name in _PEERS),
        Row("prepare, of the ceiling", "%", OURS, of_ceiling, bar=">= 90 %"),
        Row("images/s of fetch", "images/s", OURS, [num_images / _seconds(ran, "fetch") for ran in ours]),
        Row("prepare" + MORE, "s", OURS, added, note="of all: " + f"{num_images / values[OURS][0]:.1f} s"),
        Row(f"own memory, {num_images // 10:,} images", "MB", OURS, few, note="of all processes, peak"),
        Row(f"own memory, {num_images:,} images", "MB", OURS, many, bar="<= 1.1 x of a tenth"),
    ]


def bare_decoding_seconds(folder: Path) -> float:
    paths = sorted(folder.glob("*/*.jpg"))
    with multiprocessing.Pool(os.cpu_count()) as pool:
        began = time.perf_counter()
        pool.map(_decode, paths, chunksize=100)
        return time.perf_counter() - began


def _decode(path: Path) -> int:
    with Image.open(path) as image:
        image.draft("RGB", (2 * SIDE, 2 * SIDE))
        return len(np.asarray(ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.BILINEAR)))


def _peer(command: list[str], folder: Path, num_images: int) -> Callable[[], float]:
    def run() -> float:
        with tempfile.TemporaryDirectory(prefix="peer-", dir=folder.parent) as work:
            return num_images / _seconds(run_peer(command, folder, Path(work)), "prepare")

    return run


def _prepared(folder: Path, *options: str) -> Ran:
    return run_command([sys.executable, "-m", "benchmarks.peers.reconv_prepare", folder, *options])


def _seconds(ran: Ran, step: str) -> float:
    return float(next(report["seconds"] for report in ran.reports if report["step"] == step))


def _own_megabytes(folder: Path) -> float:
    return float(_prepared(folder, "--memory").reports[-1]["megabytes"])
