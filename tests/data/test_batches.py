import numpy as np
import pytest
import torch

from reconv.data.arrays import PreparedData, Split
from reconv.data.batches import EvaluationBatches, Resident, TrainingBatches
from reconv.data.ranks import Rank
from reconv.data.shards import PackedImages
from reconv.params import AugmentParams

PLAIN = AugmentParams(crop=0, flip=False)
MOVED = AugmentParams(crop=1, flip=True)
CPU = torch.device("cpu")


@pytest.fixture
def data() -> Resident:
    """20 images; every pixel of an image is its number, as is its label."""
    labels = np.arange(20)
    images = np.broadcast_to(labels[:, None, None, None], (20, 4, 4, 1)).astype(np.uint8)
    return Resident(Split(images, labels), CPU)


def drawn(data: Resident, batch_size: int, seed: int = 0, epoch: int = 0, augment: AugmentParams = PLAIN) -> list[int]:
    return [label for _, labels in TrainingBatches(data, batch_size, augment, seed, epoch) for label in labels.tolist()]


@pytest.mark.parametrize("batch_size", [1, 4, 5, 20])
def test_an_epoch_has_every_image_once(data: Resident, batch_size: int) -> None:
    assert sorted(drawn(data, batch_size)) == list(range(20))
    assert drawn(data, batch_size) != list(range(20))


def test_an_incomplete_last_batch_is_left_out(data: Resident) -> None:
    batches = list(TrainingBatches(data, 6, PLAIN, seed=0, epoch=0))

    assert len(TrainingBatches(data, 6, PLAIN, seed=0, epoch=0)) == len(batches) == 3
    assert [len(labels) for _, labels in batches] == [6, 6, 6]


def test_a_batch_larger_than_the_split_is_the_whole_split(data: Resident) -> None:
    assert sorted(drawn(data, batch_size=100)) == list(range(20))


def test_images_keep_their_labels(data: Resident) -> None:
    for images, labels in TrainingBatches(data, 4, PLAIN, seed=0, epoch=0):
        assert images.dtype == torch.uint8
        assert images.shape == (4, 4, 4, 1)
        assert labels.dtype == torch.int64
        assert torch.equal(images[:, 0, 0, 0].long(), labels)


def test_same_seed_and_epoch_give_the_same_batches(data: Resident) -> None:
    batches = TrainingBatches(data, 4, MOVED, seed=3, epoch=2)
    others = TrainingBatches(data, 4, MOVED, seed=3, epoch=2)

    for again in (batches, others):
        for (images, labels), (images_again, labels_again) in zip(batches, again, strict=True):
            assert torch.equal(images, images_again)
            assert torch.equal(labels, labels_again)


@pytest.mark.parametrize(("seed", "epoch"), [(0, 1), (1, 0), (1, 1)])
def test_another_seed_or_epoch_gives_another_order(data: Resident, seed: int, epoch: int) -> None:
    assert drawn(data, 4, seed, epoch) != drawn(data, 4, 0, 0)


def test_the_order_does_not_depend_on_the_batch_size(data: Resident) -> None:
    assert drawn(data, 2) == drawn(data, 5) == drawn(data, 20)


@pytest.mark.parametrize(("batch_size", "sizes"), [(20, [20]), (8, [8, 8, 4]), (100, [20])])
def test_evaluation_has_every_image_in_order(data: Resident, batch_size: int, sizes: list[int]) -> None:
    batches = EvaluationBatches(data, batch_size, (4, 4, 1))

    assert [len(labels) for _, labels in batches] == sizes
    assert len(batches) == len(sizes)
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(20))
    assert torch.cat([images for images, _ in batches])[:, 0, 0, 0].tolist() == list(range(20))


@pytest.mark.parametrize(("pixels", "most"), [(8, 500), (224, 10), (1024, 1)])
def test_batches_of_large_images_are_smaller_where_nothing_is_learned(pixels: int, most: int) -> None:
    images = np.zeros((600, pixels, pixels, 1), np.uint8)  # never touched, so that it takes no memory
    batches = EvaluationBatches(Resident(Split(images, np.zeros(600, np.int64)), CPU), 500, images.shape[1:])

    assert len(next(iter(batches))[1]) == most
    assert sum(len(labels) for _, labels in batches) == 600


def test_mapped_images_are_not_copied_on_a_cpu(prepared: PreparedData) -> None:
    split = prepared.train

    resident = Resident(split, CPU)

    assert np.shares_memory(resident.take(slice(None))[0].numpy(), split.images)


def test_batches_of_several_shards_are_those_of_one() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 1), dtype=np.uint8)
    labels = np.arange(50)
    in_one, in_three = (
        Resident(Split(packed, labels), CPU)
        for packed in (images, PackedImages([images[:20], images[20:40], images[40:]]))
    )

    batches = (TrainingBatches(one, 8, MOVED, seed=0, epoch=3) for one in (in_one, in_three))
    for first, second in zip(*batches, strict=True):
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[1], second[1])
    for first, second in zip(*(EvaluationBatches(one, 15, (4, 4)) for one in (in_one, in_three)), strict=True):
        assert torch.equal(first[0], second[0])


def test_the_parts_of_all_ranks_are_the_batches_of_one(data: Resident) -> None:
    """Augmentation included, where a batch cannot be shared evenly."""
    whole = list(TrainingBatches(data, 7, MOVED, seed=3, epoch=2))
    parts = [list(TrainingBatches(data, 7, MOVED, seed=3, epoch=2, rank=Rank(number, 3))) for number in range(3)]

    assert len(whole) == 2
    for batch, *of_ranks in zip(whole, *parts, strict=True):
        for index in (0, 1):
            assert torch.equal(torch.cat([part[index] for part in of_ranks]), batch[index])
