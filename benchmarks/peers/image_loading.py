"""What the commands share that prepare photographs and load them in batches: their arguments, sizes and reports.

Processes that only decode read this as well: torch and torchvision are imported where they are used.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps

if TYPE_CHECKING:
    from torch import Tensor

SIDE, CROP = 64, 1
BATCH_SIZE = 256
# Workers stay from one epoch to the next: how long they take to start is not what is compared.
LOADER: dict[str, Any] = {"batch_size": BATCH_SIZE, "num_workers": 2, "shuffle": True, "persistent_workers": True}


def parser() -> argparse.ArgumentParser:
    """Of the command line of each."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("images", type=Path, help="folder with a folder per class")
    arguments.add_argument("output", type=Path, help="where what is prepared goes; taken from there if it is there")
    arguments.add_argument("--epochs", type=int, default=0, help="to load in batches")
    return arguments


def resized(image: Image.Image) -> Image.Image:
    """RGB, the shorter side resized to SIDE, its centre."""
    return ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.BILINEAR)


def augmentation() -> Callable[["Tensor"], "Tensor"]:
    """Of one image (channels, SIDE, SIDE): a crop and a flip, as params.yaml has them."""
    from torchvision import transforms

    return transforms.Compose([transforms.RandomCrop(SIDE, padding=CROP), transforms.RandomHorizontalFlip()])


@contextmanager
def reported(step: str) -> Iterator[None]:
    """Print how long it took, a JSON line."""
    began = time.perf_counter()
    yield
    _print({"step": step, "seconds": time.perf_counter() - began})


def report_epochs(batches: Callable[[int], Iterable[tuple["Tensor", "Tensor"]]], epochs: int) -> None:
    """Go through the images and labels of each epoch and print, a JSON line each, how fast that was, how many images
    there were, and shape and type of one."""
    for epoch in range(epochs):
        began, count, one = time.perf_counter(), 0, {}
        for images_B, labels_B in batches(epoch):
            count += len(labels_B)
            one = {"shape": tuple(images_B.shape[1:]), "dtype": str(images_B.dtype)}
        speed = count / (time.perf_counter() - began)
        _print({"step": "epoch", "images_per_second": speed, "images": count, **one})


def _print(report: dict[str, Any]) -> None:
    print("\n" + json.dumps(report), flush=True)  # a progress bar may stand on the line
