from typing import Any

import numpy as np
import pytest
import torch

from reconv.artifacts import Manifest
from reconv.data.arrays import Split
from reconv.data.batches import Resident
from reconv.explain.patches import Excitement, Field, excitements, patches, share_by_chance, share_of_one_class
from reconv.models.classifier import ImageClassifier, new_classifier
from reconv.models.cnn import Block
from reconv.params import Params

PLAIN = {"batch_norm": False, "whitened": False}


def classifier_for(params: Params, manifest: Manifest, side: int, **changes: Any) -> ImageClassifier:
    torch.manual_seed(0)
    network = params.network("cnn").model_copy(update=changes)
    described = manifest.model_copy(update={"image_shape": (side, side, 1), "mean": (0.0,), "std": (1.0,)})
    return new_classifier("cnn", network, described).eval()


def resident(images: np.ndarray, labels: np.ndarray | None = None) -> Resident:
    return Resident(Split(images, np.zeros(len(images), np.int64) if labels is None else labels), torch.device("cpu"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pooling": "strided"},
        {"pooling": "average", "convolutions": 2},
        {"kernel_size": 5, "pooling": "strided", "convolutions": 2},
        {"residual": True},
        {"residual": True, "pooling": "strided", "kernel_size": 1},
        {"shared_weights": False},
    ],
)
def test_a_field_is_all_that_a_value_depends_on(params: Params, manifest: Manifest, changes: dict[str, Any]) -> None:
    side = 40
    classifier = classifier_for(params, manifest, side, **PLAIN, widths=(2, 3), **changes)
    for parameter in classifier.parameters():
        torch.nn.init.constant_(parameter, 0.1)  # everything that is connected responds
    found = excitements(classifier, resident(np.full((1, side, side, 1), 9, np.uint8)), 1)
    blocks = [layer for layer in classifier.network.modules() if isinstance(layer, Block)]

    for depth, one in enumerate(found, start=1):
        row = 5
        image = torch.rand(1, 1, side, side, requires_grad=True)
        out = image
        for block in blocks[:depth]:
            out = block(out) if "max" not in str(block.pool).lower() else averaged(block, out)
        out[0, 0, row, row].backward()
        assert image.grad is not None
        touched = image.grad[0, 0].nonzero()[:, 0]
        assert touched.min() == row * one.field.step + one.field.first
        assert touched.max() == row * one.field.step + one.field.last
        assert touched.max() - touched.min() + 1 == one.field.size


def averaged(block: Block, images: torch.Tensor) -> torch.Tensor:
    """The block with average instead of max pooling, so that every pixel of its window counts."""
    pool = torch.nn.AvgPool2d(2, ceil_mode=True)
    out = pool(block.convolutions(images))
    if block.shortcut is not None:
        out = out + pool(block.shortcut(images))
    return block.activate(out)


def test_the_planted_pattern_is_found(params: Params, manifest: Manifest) -> None:
    classifier = classifier_for(
        params, manifest, 8, **PLAIN, widths=(1,), convolutions=1, kernel_size=3, pooling="strided"
    )
    (convolution,) = (layer for layer in classifier.modules() if isinstance(layer, torch.nn.Conv2d))
    corner = np.array([[0, 9, 9], [0, 9, 9], [0, 0, 0]], np.uint8)
    with torch.no_grad():
        convolution.weight.copy_(torch.from_numpy(corner)[None, None].float() - 4)
        convolution.bias.zero_()  # type: ignore[union-attr]
    images = np.zeros((5, 8, 8, 1), np.uint8)
    for image, (row, column) in ((3, (1, 3)), (1, (5, 5))):  # where a stride of 2 and a padding of 1 look
        images[image, row : row + 3, column : column + 3, 0] = corner * (1 + (image == 3))

    (found,) = excitements(classifier, resident(images), 2)

    assert found.images.tolist() == [[3, 1]]
    seen = patches(found, images, np.array([77], np.uint8))
    np.testing.assert_array_equal(seen[0, :, :, :, 0], [corner * 2, corner])


def test_beyond_the_edge_is_the_background() -> None:
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
    at_the_edges = Excitement(Field(-1, 1, 2), np.zeros((1, 2), int), np.array([[[0, 0], [2, 1]]]))

    first, second = patches(at_the_edges, image, np.array([99], np.uint8))[0, ..., 0]

    assert first.tolist() == [[99, 99, 99], [99, 0, 1], [99, 4, 5]]
    assert second.tolist() == [[13, 14, 15], [99, 99, 99], [99, 99, 99]]


def test_many_batches_find_what_one_would(params: Params, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = classifier_for(params, manifest, 8, widths=(4, 8))
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1), dtype=np.uint8)
    at_once = excitements(classifier, resident(images), 5)

    monkeypatch.setattr("reconv.explain.patches._BATCH_SIZE", 7)
    in_parts = excitements(classifier, resident(images), 5)

    for one, other in zip(at_once, in_parts, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.places, other.places)
        assert all(len(set(images)) == 5 for images in one.images)


def test_channels_that_nothing_excites_are_left_out(params: Params, manifest: Manifest) -> None:
    classifier = classifier_for(params, manifest, 8, **PLAIN, widths=(3,), convolutions=1)
    (convolution,) = (layer for layer in classifier.modules() if isinstance(layer, torch.nn.Conv2d))
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([-1.0, 1.0, -1.0])[:, None, None, None].expand_as(convolution.weight))
        convolution.bias.zero_()  # type: ignore[union-attr]

    (found,) = excitements(classifier, resident(np.full((4, 8, 8, 1), 5, np.uint8)), 3)

    assert found.images.tolist() == [[0, 1, 2]]


def test_a_network_without_blocks_has_none(params: Params, manifest: Manifest) -> None:
    classifier = new_classifier("feedforward", params.network("feedforward"), manifest).eval()

    assert excitements(classifier, resident(np.zeros((2, *manifest.image_shape), np.uint8)), 3) == []


def test_the_commonest_class_is_counted() -> None:
    assert share_of_one_class(np.array([[0, 0, 1, 2], [3, 3, 3, 3]])) == 0.75


def test_chance_is_what_images_drawn_from_all_would_show() -> None:
    halves = np.array([0, 1] * 50)

    assert share_by_chance(halves, 1) == 1
    assert share_by_chance(halves, 2) == pytest.approx(0.75, abs=0.02)
    assert share_by_chance(np.zeros(5, int), 9) == 1
