"""Fashion-MNIST as the peers want it, from data/raw: `python -m benchmarks.peers.data` writes both forms once.

- build/benchmarks/torchvision: the IDX files of torchvision.datasets.FashionMNIST(root, download=False);
- build/benchmarks/folder: a PNG per image, train/CLASS/*.png and test/CLASS/*.png, for ultralytics.
"""

import struct
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measure import ROOT
from reconv.artifacts import RawSource

RAW = ROOT / "data" / "raw"
BUILD = ROOT / "build" / "benchmarks"

_UBYTE = 0x08
_IDX_NAMES = {"train": "train", "test": "t10k"}


def torchvision_root() -> Path:
    """The root that holds FashionMNIST/raw/*-ubyte; written if it is not there."""
    root = BUILD / "torchvision"
    if not _is_complete(root):
        folder = root / "FashionMNIST" / "raw"
        folder.mkdir(parents=True, exist_ok=True)
        for split, name in _IDX_NAMES.items():
            images, labels = _load(split)
            _write_idx(folder / f"{name}-images-idx3-ubyte", images[..., 0])
            _write_idx(folder / f"{name}-labels-idx1-ubyte", labels.astype(np.uint8))
        _mark_complete(root)
    return root


def png_folder() -> Path:
    """The folder of PNGs; written if it is not there."""
    root = BUILD / "folder"
    if not _is_complete(root):
        names = [name.replace("/", "-").replace(" ", "-") for name in RawSource.load(RAW / "source.json").class_names]
        for split in _IDX_NAMES:
            for name in names:
                (root / split / name).mkdir(parents=True, exist_ok=True)
            for index, (image, label) in enumerate(zip(*_load(split), strict=True)):
                Image.fromarray(image[..., 0]).save(root / split / names[label] / f"{index:05d}.png")
        _mark_complete(root)
    return root


def _load(split: str) -> tuple[np.ndarray, np.ndarray]:
    return np.load(RAW / f"{split}-images.npy"), np.load(RAW / f"{split}-labels.npy")


def _write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, _UBYTE, array.ndim, *array.shape)
    path.write_bytes(header + array.tobytes())


def _is_complete(root: Path) -> bool:
    marker = root / "source.json"
    return marker.exists() and marker.read_bytes() == (RAW / "source.json").read_bytes()


def _mark_complete(root: Path) -> None:
    """Written last: where it is, the rest is complete, and made of the images that data/raw holds."""
    (root / "source.json").write_bytes((RAW / "source.json").read_bytes())


if __name__ == "__main__":
    print(torchvision_root())
    print(png_folder())
