"""Batches as whole tensors on the device: no per-image Python, no worker processes.

B batch, H height, W width, C channels.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from reconv.data.arrays import Split
from reconv.data.augmentation import augment
from reconv.data.ranks import ALONE, Rank
from reconv.data.shards import PackedImages
from reconv.params import AugmentParams

Batch = tuple[Tensor, Tensor]

# Of a batch that is only evaluated: 668 images of 28 x 28, 10 (on a GPU 83) of 224 x 224. A network's activations take
# some hundred bytes for each; on two cores of images of 112 pixels, batches four times as large took twice as long.
_MAX_EVALUATED_PIXELS = {"cpu": 2**19, "cuda": 2**22}


class Resident:
    """A split for batches on `device`: mapped memory on a CPU; copied once to a GPU, or batch by batch if it takes more
    than half of what is free there."""

    def __init__(self, split: Split, device: torch.device) -> None:
        self.labels_N = torch.from_numpy(split.labels).to(device)
        self._images = split.images
        self._resident: Tensor | None = None
        arrays = split.images.arrays if isinstance(split.images, PackedImages) else [split.images]
        if device.type == "cpu" and len(arrays) == 1:
            self._resident = torch.from_numpy(arrays[0])
        elif device.type != "cpu" and _fits(split.images.shape, device):
            self._resident = torch.empty(split.images.shape, dtype=torch.uint8, device=device)
            start = 0
            for array in arrays:  # one after the other: all of them at once might not fit into memory
                self._resident[start : start + len(array)] = torch.from_numpy(array).to(device)
                start += len(array)
        elif isinstance(split.images, PackedImages):
            split.images.expect_random_order()

    def __len__(self) -> int:
        return len(self.labels_N)

    def take(self, chosen_B: Tensor | slice) -> Batch:
        """Images (B, H, W, C) and labels (B,)."""
        labels_B = self.labels_N[chosen_B]
        if self._resident is not None:
            return self._resident[chosen_B], labels_B
        chosen = chosen_B if isinstance(chosen_B, slice) else chosen_B.cpu().numpy()
        return torch.from_numpy(self._images[chosen]).to(labels_B.device), labels_B


def _fits(shape: tuple[int, ...], device: torch.device) -> bool:
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return math.prod(shape) <= free_bytes / 2


class TrainingBatches:
    """One epoch: every image once, in an order drawn from (seed, epoch), augmented; the last batch only if complete.

    Yields images uint8 (B, H, W, C) and labels int64 (B,): of each batch the part that is `rank`'s, which does not
    depend on how many ranks there are. Iterating twice gives the same batches twice.
    """

    def __init__(
        self,
        data: Resident,
        batch_size: int,
        augmentation: AugmentParams,
        seed: int,
        epoch: int,
        rank: Rank = ALONE,
        max_batches: int | None = None,
    ) -> None:
        self._data = data
        self._max_batches = max_batches
        self.batch_size = min(batch_size, len(data))
        self._part = rank.part(self.batch_size)
        self.weight = rank.weight(self.batch_size)
        """Of this rank's mean of a batch in the mean over ranks."""
        self._augmentation = augmentation
        self._seed = seed
        self._epoch = epoch

    def __len__(self) -> int:
        complete = len(self._data) // self.batch_size
        return complete if self._max_batches is None else min(complete, self._max_batches)

    def __iter__(self) -> Iterator[Batch]:
        device = self._data.labels_N.device
        generator = torch.Generator(device).manual_seed(self._seed * 1_000_003 + self._epoch)
        order = torch.randperm(len(self._data), generator=generator, device=device)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            chosen = order[start : start + self.batch_size]
            images_BHWC, labels_B = self._data.take(chosen[self._part])
            yield augment(images_BHWC, self._augmentation, generator, self.batch_size, self._part), labels_B


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
            yield self._data.take(slice(start, start + self._batch_size))
