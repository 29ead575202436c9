"""Batches as whole tensors on the device: no per-image Python, no worker processes.

B batch, H height, W width, C channels.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from reconv.data.arrays import Split
from reconv.data.augmentation import augment
from reconv.params import AugmentParams

Batch = tuple[Tensor, Tensor]

# Of a batch that is only evaluated: 668 images of 28 x 28, 10 (on a GPU 83) of 224 x 224. A network's activations take
# some hundred bytes for each; on two cores of images of 112 pixels, batches four times as large took twice as long.
_MAX_EVALUATED_PIXELS = {"cpu": 2**19, "cuda": 2**22}


class Resident:
    """A split as tensors on `device`: mapped memory on a CPU, copied once to a GPU."""

    def __init__(self, split: Split, device: torch.device) -> None:
        self.images_NHWC = torch.from_numpy(split.images).to(device)
        self.labels_N = torch.from_numpy(split.labels).to(device)

    def __len__(self) -> int:
        return len(self.labels_N)


class TrainingBatches:
    """One epoch: every image once, in an order drawn from (seed, epoch), augmented; the last batch only if complete.

    Yields images uint8 (B, H, W, C) and labels int64 (B,). Iterating twice gives the same batches twice.
    """

    def __init__(self, data: Resident, batch_size: int, augmentation: AugmentParams, seed: int, epoch: int) -> None:
        self._data = data
        self._batch_size = min(batch_size, len(data))
        self._augmentation = augmentation
        self._seed = seed
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._data) // self._batch_size

    def __iter__(self) -> Iterator[Batch]:
        device = self._data.labels_N.device
        generator = torch.Generator(device).manual_seed(self._seed * 1_000_003 + self._epoch)
        order = torch.randperm(len(self._data), generator=generator, device=device)
        for start in range(0, len(self) * self._batch_size, self._batch_size):
            chosen = order[start : start + self._batch_size]
            yield augment(self._data.images_NHWC[chosen], self._augmentation, generator), self._data.labels_N[chosen]


class EvaluationBatches:
    """Every image once, in order, as it is, at most `batch_size` at a time and fewer of large ones, so that memory does
    not grow with their size; the last batch may be smaller. `seen` is (height, width, ...) of what a network sees of an
    image.
    """

    def __init__(self, data: Resident, batch_size: int, seen: tuple[int, ...]) -> None:
        self._data = data
        most = _MAX_EVALUATED_PIXELS[data.labels_N.device.type] // (seen[0] * seen[1])
        self._batch_size = min(batch_size, max(1, most))

    def __len__(self) -> int:
        return math.ceil(len(self._data) / self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self._data), self._batch_size):
            stop = start + self._batch_size
            yield self._data.images_NHWC[start:stop], self._data.labels_N[start:stop]
