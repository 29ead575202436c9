"""The parts of test images that excite a CNN's channels most, block by block. Called by the stage `explain`.

N images, B batch, C channels, H height, W width; P patches of a channel, p pixels of a patch's side.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reconv.data.batches import EvaluationBatches, Resident
from reconv.models.classifier import ImageClassifier
from reconv.models.cnn import Block, blocks_of
from reconv.models.locally_connected import LocallyConnected2d

_BATCH_SIZE = 500
_DRAWS = 2000


@dataclass(frozen=True)
class Field:
    """What a position of a layer sees of the image, in rows as in columns: pixels `step * position + first` to
    `step * position + last`. Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional Neural Networks"
    (Distill, 2019)."""

    first: int = 0
    last: int = 0
    step: int = 1

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    def through(self, kernel_size: int, stride: int, padding: int = 0) -> "Field":
        """Of the layer that follows with this window."""
        last = self.last + (kernel_size - 1 - padding) * self.step
        return Field(self.first - padding * self.step, last, self.step * stride)

    def joined(self, other: "Field") -> "Field":
        """Of the sum of two layers of one size."""
        return Field(min(self.first, other.first), max(self.last, other.last), self.step)


@dataclass(frozen=True)
class Excitement:
    """What excites the channels of one block most."""

    field: Field
    images: NDArray[np.int64]
    """(C, P): different ones for each channel, the strongest first. Channels that no image excites are left out."""
    places: NDArray[np.int64]
    """(C, P, 2): row and column of the block's output."""


def excitements(classifier: ImageClassifier, test: Resident, num_patches: int) -> list[Excitement]:
    """Of every block, from the first to the last; where `test` has fewer images, fewer patches."""
    blocks = blocks_of(classifier.network)
    best = [_Best(min(num_patches, len(test))) for _ in blocks]
    hooks = [
        block.register_forward_hook(lambda _module, _inputs, out_BCHW, keep=keep: keep.see(out_BCHW))
        for block, keep in zip(blocks, best, strict=True)
    ]
    try:
        with torch.inference_mode():
            for images_BHWC, _ in EvaluationBatches(test, _BATCH_SIZE, classifier.input_shape):
                classifier.network(classifier.inputs(images_BHWC))
    finally:
        for hook in hooks:
            hook.remove()
    return [keep.as_excitement(field) for keep, field in zip(best, _fields(blocks), strict=True)]


def patches(excitement: Excitement, images_NHWC: NDArray[np.uint8], background: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(C, P, p, p, channels): what the channels saw. Beyond the image's edge is `background`, a colour."""
    size, field = excitement.field.size, excitement.field
    num_channels, num_patches = excitement.images.shape
    out = np.empty((num_channels, num_patches, size, size, images_NHWC.shape[-1]), np.uint8)
    out[:] = background
    height, width = images_NHWC.shape[1:3]
    for channel in range(num_channels):
        for rank in range(num_patches):
            row, column = excitement.places[channel, rank] * field.step + field.first
            rows, columns = _inside(row, size, height), _inside(column, size, width)
            image_HWC = images_NHWC[excitement.images[channel, rank]]
            patch = out[channel, rank]
            patch[rows.start - row : rows.stop - row, columns.start - column : columns.stop - column] = image_HWC[
                rows, columns
            ]
    return out


def share_of_one_class(labels_CP: NDArray[np.integer]) -> float:
    """How many of a channel's images are of the class that most of them are of; mean over channels, 0 to 1."""
    return float(np.mean([np.bincount(labels_P).max() / len(labels_P) for labels_P in labels_CP]))


def share_by_chance(labels_N: NDArray[np.integer], num_patches: int) -> float:
    """`share_of_one_class` of images drawn from all."""
    drawn = np.random.default_rng(0).choice(labels_N, size=(_DRAWS, num_patches))
    return share_of_one_class(drawn)


class _Best:
    """The strongest responses of each channel so far, one per image."""

    def __init__(self, num_patches: int) -> None:
        self._num_patches = num_patches
        self._num_seen = 0
        self._values_CP = self._images_CP = self._places_CP = torch.empty(0)
        self._width = 1

    def see(self, out_BCHW: Tensor) -> None:
        values_CB, places_CB = out_BCHW.flatten(2).max(dim=2)[0].T, out_BCHW.flatten(2).argmax(dim=2).T
        images_CB = (torch.arange(len(out_BCHW)) + self._num_seen).expand_as(places_CB)
        self._num_seen += len(out_BCHW)
        self._width = out_BCHW.shape[3]
        if len(self._values_CP):
            values_CB = torch.cat([self._values_CP, values_CB], dim=1)
            images_CB = torch.cat([self._images_CP, images_CB], dim=1)
            places_CB = torch.cat([self._places_CP, places_CB], dim=1)
        order_CP = values_CB.argsort(dim=1, descending=True, stable=True)[:, : self._num_patches]
        self._values_CP, self._images_CP, self._places_CP = (
            all_CB.gather(1, order_CP) for all_CB in (values_CB, images_CB, places_CB)
        )

    def as_excitement(self, field: Field) -> Excitement:
        is_alive_C = self._values_CP[:, 0] > 0
        places_CP = self._places_CP[is_alive_C]
        places_CP2 = torch.stack([places_CP // self._width, places_CP % self._width], dim=2)
        return Excitement(field, self._images_CP[is_alive_C].numpy(), places_CP2.numpy())


def _fields(blocks: list[Block]) -> Iterator[Field]:
    field = Field()
    for block in blocks:
        before = field
        for layer in block.convolutions:
            if isinstance(layer, nn.Conv2d | LocallyConnected2d):
                field = field.through(layer.kernel_size[0], layer.stride[0], layer.kernel_size[0] // 2)
        field = _pooled(field, block.pool)
        if block.shortcut is not None:
            field = field.joined(_pooled(before, block.shortcut_pool))
        yield field


def _pooled(field: Field, pool: nn.Module) -> Field:
    if isinstance(pool, nn.MaxPool2d | nn.AvgPool2d):
        return field.through(int(pool.kernel_size), int(pool.stride))  # type: ignore[arg-type]
    return field


def _inside(start: int, size: int, limit: int) -> slice:
    """The part of start .. start + size that lies within 0 .. limit."""
    return slice(max(start, 0), min(start + size, limit))
