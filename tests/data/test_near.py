import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from reconv.data.fingerprints import fingerprints
from reconv.data.near import close_hashes, near_pairs, taken_for_copies


def by_brute_force(hashes: np.ndarray, most: int) -> set[tuple[int, int]]:
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None])
    return {(i, j) for i, j in np.argwhere(distance <= most).tolist() if i < j}


def test_all_close_hashes_are_found_and_no_others() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2**64, 100, dtype=np.uint64)
    flipped = [
        hash_ ^ np.uint64(sum(1 << bit for bit in rng.choice(64, n, replace=False))) for hash_ in base for n in range(6)
    ]
    hashes = rng.permutation(np.array(flipped, np.uint64))

    found = {(i, j) for i, j in close_hashes(hashes).tolist()}
    assert by_brute_force(hashes, 3) <= found <= by_brute_force(hashes, 8)
    assert len(found) > 0.5 * len(by_brute_force(hashes, 8))


def test_of_many_that_are_equal_each_is_found_to_be_like_some() -> None:
    pairs = close_hashes(np.full(500, 7, np.uint64))

    assert len(pairs) < 500 * 17
    assert {(i, i + 1) for i in range(499)} <= {(int(i), int(j)) for i, j in pairs}


def drawn(seed: int, side: int = 256) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    fine = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    return Image.blend(*(one.resize((side, side), Image.Resampling.BICUBIC) for one in (coarse, fine)), 0.3)


def packed(*pictures: Image.Image) -> np.ndarray:
    return np.stack([np.asarray(one.convert("RGB").resize((48, 48), Image.Resampling.BILINEAR)) for one in pictures])


def pairs_of(images: np.ndarray) -> list[list[int]]:
    return near_pairs(fingerprints(images)["hash"], images, np.arange(len(images))).tolist()


@pytest.mark.parametrize("seed", range(8))
def test_a_picture_saved_anew_is_near(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    original, path = drawn(seed), tmp_path_factory.mktemp("saved") / "again.jpg"
    original.save(path, quality=40)
    smaller = original.resize((150, 150), Image.Resampling.LANCZOS)
    brighter = ImageEnhance.Brightness(original).enhance(0.8)

    for changed in (Image.open(path), smaller, brighter):
        assert pairs_of(packed(original, drawn(100 + seed), changed)) == [[0, 2]]


def test_most_drawings_saved_anew_are_near() -> None:
    """Of plain areas, whose hash is chance."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(60):
        picture = Image.new("RGB", (90, 90), tuple(rng.integers(0, 256, 3).tolist()))
        left, top, width, height = rng.integers(5, 45, 4).tolist()
        ImageDraw.Draw(picture).rectangle(
            (left, top, left + width, top + height), tuple(rng.integers(0, 256, 3).tolist())
        )
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=60)
        pictures += [picture, Image.open(buffer)]

    found = pairs_of(packed(*pictures))

    copies = [[i, i + 1] for i in range(0, 120, 2)]
    assert sum(pair in found for pair in copies) >= 48
    assert all(pair in copies for pair in found)


def test_different_pictures_are_not_near() -> None:
    assert pairs_of(packed(*(drawn(seed) for seed in range(200)))) == []


def test_pictures_of_a_single_colour_are_like_none() -> None:
    flat = np.stack([np.full((16, 16, 1), value, np.uint8) for value in (0, 100, 255)])

    assert pairs_of(flat) == []


def test_shifted_hues_are_other_pictures() -> None:
    original = drawn(0)
    turned = Image.merge("RGB", original.split()[::-1])

    assert pairs_of(packed(original, turned)) == []


def test_rows_say_which_images_are_meant() -> None:
    images = packed(*(drawn(seed) for seed in (0, 1, 0, 2)))
    rows = np.array([3, 2, 0])

    assert near_pairs(fingerprints(images[rows])["hash"], images, rows).tolist() == [[1, 2]]


def test_where_a_class_looks_alike_by_nature_its_images_are_no_copies() -> None:
    labels = np.array([0] * 10 + [1] * 10 + [2] * 10)
    pairs = np.array([[0, 1], [2, 3], [4, 11], [12, 13], [20, 21]])

    copies, alike = taken_for_copies(pairs, labels)

    assert alike == [0, 1]  # five and three of ten; of the third class two
    assert copies.tolist() == [[20, 21]]


def test_without_look_alikes_no_class_is_alike() -> None:
    copies, alike = taken_for_copies(np.empty((0, 2), np.int64), np.array([0, 1, 1]))

    assert (len(copies), alike) == (0, [])
