"""Hugging Face's datasets: load_dataset("imagefolder"), a batched map in two processes, format torch in a DataLoader.

As its guides "Process image data" and "Use with PyTorch" have it, except that the map gives arrays of pixels: an image,
as in the former, would be packed as PNG and unpacked in every epoch; and that the format is told to keep bytes, where
it makes int64 of them otherwise, at 0.4 times the speed. The library decodes images at their full size, before the
map's function sees them. No crop, no flip: a transform that did them would take the place of the format.
"""

from typing import Any

import numpy as np
import torch
from datasets import Array3D, Dataset, Features, load_dataset
from torch.utils.data import DataLoader

from benchmarks.peers.image_loading import LOADER, SIDE, parser, report_epochs, reported, resized


def to_pixels(examples: dict[str, Any]) -> dict[str, Any]:
    examples["pixels"] = [np.asarray(resized(image)) for image in examples["image"]]
    return examples


def mapped(images: Dataset) -> Dataset:
    features = Features(label=images.features["label"], pixels=Array3D((SIDE, SIDE, 3), "uint8"))
    return images.map(to_pixels, batched=True, remove_columns=["image"], features=features, num_proc=2)


def main() -> None:
    given = parser().parse_args()
    with reported("load"):
        images = load_dataset("imagefolder", data_dir=str(given.images), split="train", cache_dir=str(given.output))
    with reported("prepare"):
        data = mapped(images)
    loader = DataLoader(data.with_format("torch", dtype=torch.uint8), **LOADER)
    report_epochs(lambda _: ((batch["pixels"], batch["label"]) for batch in loader), given.epochs)


if __name__ == "__main__":
    main()
