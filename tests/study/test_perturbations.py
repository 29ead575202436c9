import pytest
import torch

from reconv.study.perturbations import CORRUPTIONS, SEVERITIES, corrupted, shifted


def images(channels: int = 1, side: int = 20) -> torch.Tensor:
    """Smooth ramps and a bright square, so that every corruption changes something."""
    ramp = torch.linspace(30, 180, side)
    image = (ramp[:, None] + ramp[None, :]) / 2
    image[5:12, 6:14] = 220
    return image.byte()[None, :, :, None].repeat(6, 1, 1, channels)


def test_a_shift_goes_each_way_and_repeats_the_border() -> None:
    image = torch.arange(9, dtype=torch.uint8).view(1, 3, 3, 1)

    right, left, down, up = (one[0, :, :, 0].tolist() for one in shifted(image, 1))

    assert right == [[0, 0, 1], [3, 3, 4], [6, 6, 7]]
    assert left == [[1, 2, 2], [4, 5, 5], [7, 8, 8]]
    assert down == [[0, 1, 2], [0, 1, 2], [3, 4, 5]]
    assert up == [[3, 4, 5], [6, 7, 8], [6, 7, 8]]


def test_no_shift_is_the_image() -> None:
    (same,) = shifted(images(), 0)

    assert torch.equal(same, images())


def test_there_are_at_least_ten_corruptions() -> None:
    assert len(CORRUPTIONS) >= 10


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_corruption_changes_more_the_more_severe_it_is(name: str, channels: int) -> None:
    original = images(channels)

    changed = [corrupted(name, original, severity, seed=0) for severity in SEVERITIES]

    for one in changed:
        assert (one.shape, one.dtype) == (original.shape, torch.uint8)
    distance = [float((one.float() - original.float()).pow(2).mean()) for one in changed]
    assert 0 < distance[0] < distance[-1]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_seed_gives_the_same_images_and_leaves_the_original(name: str) -> None:
    original = images()

    first, again = (corrupted(name, original, 3, seed=5) for _ in range(2))

    assert torch.equal(first, again)
    assert torch.equal(original, images())


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("side", [3, 8])
def test_tiny_images_can_be_corrupted(name: str, side: int) -> None:
    tiny = torch.full((2, side, side, 1), 100, dtype=torch.uint8)

    assert corrupted(name, tiny, 5, seed=0).shape == tiny.shape
