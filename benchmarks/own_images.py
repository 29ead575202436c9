"""A folder of photographs -> prepared arrays: how near to the bare decoding, and how memory and new images count.

20,000 generated JPEGs of 500 x 375 pixels in four folders become 64 x 64 x 3.

- The ceiling: as many processes as there are cores, each decoding and resizing its share, nothing else: no listing, no
  checksums, nothing written. It asks the JPEG decoder for a smaller scale, as ours does.
- reconv: `fetch` (every file read, hashed, its header looked at) and `prepare` (decoded, checked, split, packed) as the
  stages call them, into empty folders; starting processes counts.
- torchvision's ImageFolder and a DataLoader with two workers, as its documentation has it: one pass over all images,
  which every epoch repeats.
- Memory of all processes, mapped files left out, with a tenth of the images and with all; and the time after 1 % was
  added.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from benchmarks.measure import OURS, ROOT, Effort, PeakMemory, Ran, Row, interleaved, own_bytes, ratio, run_command
from benchmarks.peers.data import BUILD
from reconv.data.packing import prepare
from reconv.data.sources import fetch
from reconv.params import load_params

TITLE = "Your own images: from JPEGs to prepared arrays"

_WIDTH, _HEIGHT, _TARGET, _CLASSES = 500, 375, 64, 4
_MORE = " with 1 % more images"
_CEILING, _TORCHVISION = "bare decoding and resizing", "torchvision ImageFolder + DataLoader"


def measure(effort: Effort) -> list[Row]:
    num_images, repeats = (20_000, 3) if effort == "full" else (400, 1)
    folder = generated(num_images)
    ours: list[Ran] = []

    def run_ours() -> float:
        ours.append(_prepared(folder))
        return num_images / _seconds(ours[-1], "prepare")

    contenders = {
        OURS: run_ours,
        _CEILING: lambda: num_images / _bare(folder),
        _TORCHVISION: lambda: num_images / _torchvision(folder),
    }
    values = interleaved(contenders, repeats)
    few = [_own_megabytes(_prepared(generated(num_images // 10))) for _ in range(repeats)]
    many = [_own_megabytes(ran) for ran in ours]
    of_ceiling = [100 * our / bare for our, bare in zip(values[OURS], values[_CEILING], strict=True)]
    against = ratio(values[OURS], values[_TORCHVISION], lower_is_better=False)
    added = [_seconds(ran, "prepare" + _MORE) for ran in ours]
    return [
        Row("images/s of prepare", "images/s", OURS, values[OURS]),
        Row("images/s of prepare", "images/s", _CEILING, values[_CEILING]),
        Row("images/s of prepare", "images/s", _TORCHVISION, values[_TORCHVISION], ratio=against, bar="ahead of it"),
        Row("prepare, of the ceiling", "%", OURS, of_ceiling, bar=">= 90 %"),
        Row("images/s of fetch", "images/s", OURS, [num_images / _seconds(ran, "fetch") for ran in ours]),
        Row("prepare" + _MORE, "s", OURS, added, note="of all: " + f"{num_images / values[OURS][0]:.1f} s"),
        Row(f"own memory, {num_images // 10:,} images", "MB", OURS, few, note="of all processes, peak"),
        Row(f"own memory, {num_images:,} images", "MB", OURS, many, bar="<= 1.1 x of a tenth"),
    ]


def generated(count: int) -> Path:
    """build/benchmarks/jpegs-COUNT, made if it is not there: smooth colours with noise, about 60 kB each."""
    folder = BUILD / f"jpegs-{count}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        with multiprocessing.Pool() as pool:
            pool.starmap(_generate, [(folder / "images", index) for index in range(count)], chunksize=50)
        (folder / "complete").touch()
    return folder / "images"


def _generate(folder: Path, index: int) -> None:
    rng = np.random.default_rng(index)
    colours = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(colours.resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC), np.float32)
    noisy = smooth + rng.normal(0, 12, smooth.shape).astype(np.float32)
    path = folder / str(index % _CLASSES) / f"{index:06d}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=85)


def _bare(folder: Path) -> float:
    paths = sorted(folder.glob("*/*.jpg"))
    with multiprocessing.Pool(os.cpu_count()) as pool:
        began = time.perf_counter()
        pool.map(_decode, paths, chunksize=100)
        return time.perf_counter() - began


def _decode(path: Path) -> int:
    with Image.open(path) as image:
        image.draft("RGB", (2 * _TARGET, 2 * _TARGET))
        return len(np.asarray(ImageOps.fit(image.convert("RGB"), (_TARGET, _TARGET), Image.Resampling.BILINEAR)))


def _torchvision(folder: Path) -> float:
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    steps = [transforms.Resize(_TARGET), transforms.CenterCrop(_TARGET), transforms.ToTensor()]
    data = ImageFolder(str(folder), transforms.Compose(steps))
    began = time.perf_counter()
    for _ in DataLoader(data, batch_size=256, shuffle=True, num_workers=2):
        pass
    return time.perf_counter() - began


def _prepared(folder: Path) -> Ran:
    return run_command([sys.executable, "-m", "benchmarks.own_images", folder])


def _seconds(ran: Ran, step: str) -> float:
    return float(next(report["seconds"] for report in ran.reports if report["step"] == step))


def _own_megabytes(ran: Ran) -> float:
    return float(next(report["megabytes"] for report in ran.reports if report["step"] == "memory"))


def main() -> None:
    """Fetch and prepare a folder of images, then once more with 1 % added; say how long each took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory(prefix="reconv-own-", dir=folder.parent) as temporary:
        work, images = Path(temporary), Path(temporary) / "images"
        shutil.copytree(folder, images, copy_function=os.link)
        source = f"folder:{images}"
        params = load_params(ROOT / "params.yaml").data.model_copy(update={"source": source, "image_size": _TARGET})

        def fetch_and_prepare(suffix: str) -> None:
            steps = {
                "fetch": lambda: fetch(source, None, work / "raw", lambda _: None),
                "prepare": lambda: prepare(params, work / "raw", work / "prepared", work / "decoded", lambda *_: None),
            }
            for name, step in steps.items():
                began = time.perf_counter()
                step()
                print(json.dumps({"step": name + suffix, "seconds": time.perf_counter() - began}), flush=True)

        with PeakMemory(every_seconds=0.05, bytes_of=own_bytes) as memory:
            fetch_and_prepare("")
        print(json.dumps({"step": "memory", "megabytes": memory.peak_bytes / 1e6}), flush=True)
        count = sum(1 for _ in folder.glob("*/*.jpg"))
        for index in range(count, count + count // 100):
            _generate(images, index)
        fetch_and_prepare(_MORE)


if __name__ == "__main__":
    main()
