import numpy as np
import pytest

from reconv.data.fingerprints import channel_statistics, fingerprints, means_and_deviation


def noise(count: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 10, 12, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_are_those_of_the_pixels(channels: int) -> None:
    images = noise(20, channels)

    mean, std = channel_statistics(fingerprints(images), 120, channels)

    np.testing.assert_allclose(mean, images.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, images.std(axis=(0, 1, 2)), rtol=1e-12)


def test_means_and_deviations_are_of_each_image() -> None:
    images = noise(4, 3)

    means, deviations = means_and_deviation(fingerprints(images), 120, 3)

    np.testing.assert_allclose(means, images.mean(axis=(1, 2)))
    np.testing.assert_allclose(deviations, images.std(axis=(1, 2)).mean(axis=1))


def test_a_constant_channel_does_not_divide_by_zero() -> None:
    assert channel_statistics(fingerprints(np.full((3, 8, 8, 1), 9, np.uint8)), 64, 1) == ((9.0,), (1.0,))


def test_sums_of_large_white_images_are_exact() -> None:
    white = np.full((1, 1024, 1024, 3), 255, np.uint8)

    found = fingerprints(white)

    assert found["sums"][0].tolist() == [255 * 2**20] * 3
    assert found["squares"][0].tolist() == [255**2 * 2**20] * 3


def test_the_digest_tells_pixels_apart() -> None:
    images = np.concatenate([noise(2, 1), noise(1, 1)])

    digests = fingerprints(images)["digest"]

    assert digests[0] == digests[2] != digests[1]


def test_the_hash_is_the_same_whatever_stands_beside_it() -> None:
    images = noise(33, 3)

    together = fingerprints(images)["hash"]

    np.testing.assert_array_equal(together, [fingerprints(images[i : i + 1])["hash"][0] for i in range(33)])


def test_brightness_and_contrast_do_not_change_the_hash() -> None:
    image = noise(1, 1) // 2

    darker = fingerprints(image)["hash"][0]

    assert fingerprints(image + 100)["hash"][0] == fingerprints(image * 2)["hash"][0] == darker
