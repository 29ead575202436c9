import shutil
from pathlib import Path

import numpy as np
import pytest

from reconv.data.arrays import PreparedData, Split
from reconv.errors import DataError


@pytest.fixture
def copy(prepared: PreparedData, folder: Path) -> Path:
    """A prepared folder that a test may damage."""
    return Path(shutil.copytree(prepared.folder, folder / "prepared"))


def test_splits_have_the_sizes_of_the_manifest(prepared: PreparedData) -> None:
    counts = prepared.manifest.counts
    splits = {"train": prepared.train, "validation": prepared.validation, "test": prepared.test}

    assert {name: len(split) for name, split in splits.items()} == counts
    for split in splits.values():
        assert split.images.shape == (len(split), *prepared.manifest.image_shape)
        assert split.images[:].dtype == np.uint8
        assert split.labels.dtype == np.int64


def test_development_is_training_followed_by_validation(prepared: PreparedData) -> None:
    np.testing.assert_array_equal(
        prepared.development.images, np.concatenate([prepared.train.images, prepared.validation.images])
    )
    np.testing.assert_array_equal(
        prepared.development.labels, np.concatenate([prepared.train.labels, prepared.validation.labels])
    )


def test_development_shares_its_memory_with_training_and_validation(prepared: PreparedData) -> None:
    development, train, validation = (
        split.images[:] for split in (prepared.development, prepared.train, prepared.validation)
    )
    assert np.shares_memory(development, train)
    assert np.shares_memory(development, validation)
    assert not np.shares_memory(train, validation)


def test_writing_to_a_view_does_not_reach_the_file(copy: Path) -> None:
    PreparedData(copy).train.images[:][:] = 0

    assert PreparedData(copy).train.images[:].any()


def test_folder_is_found_after_the_current_one_changes(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = PreparedData(Path("prepared"))
    monkeypatch.chdir("/")

    assert len(data.test) == data.manifest.counts["test"]


@pytest.mark.parametrize("name", ["development-images-000.npy", "test-labels.npy"])
@pytest.mark.parametrize("damage", ["truncated", "missing", "empty", "other shape", "other type", "pickled"])
def test_damaged_array_is_named(copy: Path, name: str, damage: str) -> None:
    path = copy / name
    content, array = path.read_bytes(), np.load(path)
    path.unlink()
    if damage == "truncated":
        path.write_bytes(content[:-1])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "other shape":
        np.save(path, array[:, 1:] if array.ndim > 1 else array[1:])
    elif damage == "other type":
        np.save(path, array.astype(np.float32))
    elif damage == "pickled":
        np.save(path, np.array([{}]), allow_pickle=True)
    data = PreparedData(copy)

    with pytest.raises(DataError, match=rf"{name} .*run `dvc repro --force prepare`"):
        _ = (data.development, data.test)


@pytest.mark.parametrize("name", ["manifest.json", "data_report.json"])
def test_incomplete_folder_is_refused_at_once(copy: Path, name: str) -> None:
    (copy / name).unlink()

    with pytest.raises(DataError, match=f"{name} is missing"):
        PreparedData(copy)


@pytest.mark.parametrize(("share", "counts"), [(1.0, [40, 30, 3]), (0.3, [12, 9, 1]), (0.01, [1, 1, 1])])
def test_a_share_is_of_each_class_and_evenly_spaced(share: float, counts: list[int]) -> None:
    labels = np.repeat([0, 1, 2], [40, 30, 3])
    images = np.arange(73, dtype=np.uint8).reshape(73, 1, 1, 1)

    part = Split(images, labels).share(share)

    assert np.bincount(part.labels).tolist() == counts
    assert (np.diff(part.images.ravel()) > 0).all()
    assert labels[part.images.ravel()].tolist() == part.labels.tolist()
    if share == 0.3:
        assert part.images.max() > 65
