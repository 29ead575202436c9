from pathlib import Path

import numpy as np
import pytest

from reconv.data import shards
from reconv.data.shards import PackedImages, map_images, mapped, write_images
from reconv.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (25, 4, 5, 3), dtype=np.uint8)
SHAPE = (4, 5, 3)
FOLDER = Path()


def images_of(file: str) -> np.ndarray:
    return mapped(FOLDER / file, np.uint8)


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> PackedImages:
    """In shards of 10, 10 and 5 images."""
    monkeypatch.setattr(shards, "_SHARD_BYTES", 10 * 60 + 59)
    monkeypatch.setattr(shards, "_CHUNK_BYTES", 3 * 60)
    write_images(FOLDER, "test", IMAGES, np.arange(25), SHAPE)
    return map_images(images_of, "test", 25, SHAPE)


def test_no_shard_is_larger_than_it_may_be(packed: PackedImages) -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == [f"test-images-00{number}.npy" for number in range(3)]
    assert [len(array) for array in packed.arrays] == [10, 10, 5]
    assert packed.shape == (25, 4, 5, 3)


@pytest.mark.parametrize(
    "chosen",
    [slice(0, 5), slice(8, 23), slice(None), slice(20, 99), slice(5, 5), slice(0, 25, 4), np.array([24, 0, 10, 10, 9])],
)
def test_images_are_found_whatever_their_shard(packed: PackedImages, chosen: slice | np.ndarray) -> None:
    np.testing.assert_array_equal(packed[chosen], IMAGES[chosen])


def test_a_part_is_counted_from_its_start(packed: PackedImages) -> None:
    part = packed.between(7, 22)

    assert len(part) == 15
    np.testing.assert_array_equal(part[np.array([0, 14, 3])], IMAGES[[7, 21, 10]])
    np.testing.assert_array_equal(part[2:13], IMAGES[9:20])
    assert len(packed.between(4, 4)) == 0


def test_side_by_side_in_one_shard_is_a_view(packed: PackedImages) -> None:
    assert np.shares_memory(packed[11:15], packed.arrays[1])


def test_rows_are_written_in_the_order_that_was_asked_for() -> None:
    rows = np.array([3, 24, 0, 3])
    write_images(FOLDER, "test", IMAGES, rows, SHAPE)

    np.testing.assert_array_equal(map_images(images_of, "test", 4, SHAPE)[:], IMAGES[rows])


def test_the_same_images_are_the_bytes_of_numpy(tmp_path: Path) -> None:
    write_images(FOLDER, "test", IMAGES, np.arange(25), SHAPE)
    np.save(tmp_path / "expected.npy", IMAGES)

    assert Path("test-images-000.npy").read_bytes() == (tmp_path / "expected.npy").read_bytes()


@pytest.mark.parametrize(("count", "shape"), [(24, SHAPE), (26, SHAPE), (25, (4, 4, 3))])
def test_another_count_or_shape_is_refused(packed: PackedImages, count: int, shape: tuple[int, int, int]) -> None:
    with pytest.raises(DataError, match=r"test-images-00\d\.npy .*run `dvc repro --force prepare`"):
        map_images(images_of, "test", count, shape)
