"""Sets that torchvision downloads and checks by MD5; they become the same arrays as any other published set."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconv.errors import DataError


@dataclass(frozen=True)
class TorchvisionSource:
    """A class of torchvision.datasets.

    `split` names a variant of the set (EMNIST), `has_split_names` that training and test images are chosen by name
    (SVHN), `transposed` that images are stored with rows and columns exchanged (EMNIST).
    """

    name: str
    split: str | None = None
    has_split_names: bool = False
    transposed: bool = False

    def fetch(self, raw: Path, say: Callable[[str], None]) -> tuple[tuple[str, ...], dict[str, NDArray[np.generic]]]:
        arrays: dict[str, NDArray[np.generic]] = {}
        class_names: tuple[str, ...] = ()
        with TemporaryDirectory(prefix="reconv-fetch-") as scratch:
            for split in ("train", "test"):
                dataset = self._load(scratch, split)
                images, labels = _as_arrays(dataset)
                arrays[f"{split}-images.npy"] = images.swapaxes(1, 2) if self.transposed else images
                arrays[f"{split}-labels.npy"] = labels
                class_names = _class_names(dataset, labels)
        say(f"torchvision's {self.name}, checksums match")
        return class_names, arrays

    def _load(self, root: str, split: str) -> Any:
        from torchvision import datasets  # imports torch: only for these sets

        choice: dict[str, Any] = {"split": split} if self.has_split_names else {"train": split == "train"}
        if self.split:
            choice["split"] = self.split
        try:
            return getattr(datasets, self.name)(root=root, download=True, **choice)
        except (RuntimeError, OSError) as error:
            reason = next(iter(str(error).splitlines()), "no reason given")
            raise DataError(
                f"torchvision cannot download {self.name}: {reason}.\n"
                "Run on a machine with internet access and copy its data/raw here, or name your copy by folder:PATH."
            ) from None


def _as_arrays(dataset: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N, height, width, channels) uint8 and labels (N,) int64 of any of the sets."""
    images = np.asarray(dataset.data, dtype=np.uint8)
    if images.ndim == 3:
        images = images[..., None]
    elif images.shape[1] in (1, 3) and images.shape[-1] not in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    labels = dataset.targets if hasattr(dataset, "targets") else dataset.labels
    return np.ascontiguousarray(images), np.asarray(labels, dtype=np.int64)


def _class_names(dataset: Any, labels: NDArray[np.int64]) -> tuple[str, ...]:
    names = getattr(dataset, "classes", None) or range(int(labels.max()) + 1)
    return tuple(str(name) for name in names)
