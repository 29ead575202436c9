"""Generated photographs: JPEGs of 500 x 375 pixels, smooth colours with noise, about 60 kB each, in four folders."""

import multiprocessing
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.peers.data import BUILD

_WIDTH, _HEIGHT, _CLASSES = 500, 375, 4


def generated(count: int) -> Path:
    """build/benchmarks/jpegs-COUNT/images, made if it is not there."""
    folder = BUILD / f"jpegs-{count}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        with multiprocessing.Pool() as pool:
            pool.starmap(generate, [(folder / "images", index) for index in range(count)], chunksize=50)
        (folder / "complete").touch()
    return folder / "images"


def generate(folder: Path, index: int) -> None:
    """FOLDER/CLASS/INDEX.jpg, the same one for the same index."""
    rng = np.random.default_rng(index)
    colours = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(colours.resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC), np.float32)
    noisy = smooth + rng.normal(0, 12, smooth.shape).astype(np.float32)
    path = folder / str(index % _CLASSES) / f"{index:06d}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=85)
