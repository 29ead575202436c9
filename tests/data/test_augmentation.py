import pytest
import torch
from torch import Tensor

from reconv.data.augmentation import augment
from reconv.params import AugmentParams

NUM_IMAGES, HEIGHT, WIDTH = 200, 6, 9


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> Tensor:
    """Without zeros, so that what moved in can be told from what was there."""
    return torch.randint(1, 256, (NUM_IMAGES, HEIGHT, WIDTH, 3), dtype=torch.uint8, generator=generator(1))


def shifted(image_HWC: Tensor, down: int, right: int) -> Tensor:
    """By hand, pixel row by pixel row."""
    result = torch.zeros_like(image_HWC)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            if 0 <= row - down < HEIGHT and 0 <= column - right < WIDTH:
                result[row, column] = image_HWC[row - down, column - right]
    return result


def test_nothing_asked_for_changes_nothing(images: Tensor) -> None:
    assert torch.equal(augment(images, AugmentParams(crop=0, flip=False), generator()), images)


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("crop", [0, 1, 3])
def test_shape_and_type_stay(images: Tensor, crop: int, flip: bool) -> None:
    augmented = augment(images, AugmentParams(crop=crop, flip=flip), generator())

    assert augmented.shape == images.shape
    assert augmented.dtype == torch.uint8


def test_flipped_images_are_mirror_images_of_about_half(images: Tensor) -> None:
    augmented = augment(images, AugmentParams(crop=0, flip=True), generator())

    same = (augmented == images).flatten(1).all(1)
    mirrored = (augmented == images.flip(2)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 0.35 < mirrored.float().mean() < 0.65


def test_shifts_stay_within_bounds_and_zeros_move_in(images: Tensor) -> None:
    crop = 1
    candidates = {(down, right) for down in range(-crop, crop + 1) for right in range(-crop, crop + 1)}

    augmented = augment(images, AugmentParams(crop=crop, flip=False), generator())

    seen = set()
    for before, after in zip(images, augmented, strict=True):
        (found,) = (shift for shift in candidates if torch.equal(after, shifted(before, *shift)))
        seen.add(found)
    assert seen == candidates


def test_images_of_a_batch_are_moved_each_by_itself() -> None:
    one = torch.randint(1, 256, (1, HEIGHT, WIDTH, 1), dtype=torch.uint8, generator=generator(1))

    augmented = augment(one.expand(50, -1, -1, -1), AugmentParams(crop=2, flip=True), generator())

    assert len(augmented.unique(dim=0)) > 20


def test_all_randomness_is_the_generators(images: Tensor) -> None:
    params = AugmentParams(crop=2, flip=True)
    torch.manual_seed(1)
    first = augment(images, params, generator(5))
    torch.manual_seed(2)

    assert torch.equal(augment(images, params, generator(5)), first)
    assert not torch.equal(augment(images, params, generator(6)), first)


def test_images_given_are_not_changed(images: Tensor) -> None:
    before = images.clone()

    augment(images, AugmentParams(crop=2, flip=True), generator())

    assert torch.equal(images, before)
