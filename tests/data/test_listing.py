from pathlib import Path

import pytest
from PIL import Image

from reconv.data.listing import Listing, list_folder
from reconv.data.storage import FolderStorage
from reconv.errors import DataError


def put(path: str, content: bytes | None = None) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        Image.new("L", (4, 4), len(path)).save(file)
    else:
        file.write_bytes(content)
    return file


def listed(root: str = "images", may_be_wrapped: bool = False) -> Listing:
    return list_folder(FolderStorage(Path(root)), root, may_be_wrapped)


def test_every_image_is_listed_with_its_class() -> None:
    for path in ("images/dog/2.png", "images/cat/b/1.PNG", "images/cat/0.jpg"):
        put(path)

    found = listed()

    assert found.class_names == ("cat", "dog")
    assert found.paths == ("cat/0.jpg", "cat/b/1.PNG", "dog/2.png")
    assert found.labels.tolist() == [0, 0, 1]
    assert not any(found.splits)


@pytest.mark.parametrize("validation", ["val", "valid", "Validation"])
def test_folders_of_splits_may_lie_above_the_classes(validation: str) -> None:
    for split in ("Train", validation, "test"):
        for name in ("a", "b"):
            put(f"images/{split}/{name}/1.png")

    found = listed()

    assert found.class_names == ("a", "b")
    assert sorted(set(found.splits)) == ["test", "train", "validation"]
    assert dict(zip(found.paths, found.splits, strict=True))["Train/b/1.png"] == "train"
    assert sorted(found.labels.tolist()) == [0, 0, 0, 1, 1, 1]


def test_a_class_named_like_a_split_beside_others_is_a_class() -> None:
    for name in ("test", "tube"):
        put(f"images/{name}/1.png")

    assert listed().class_names == ("test", "tube")
    assert not any(listed().splits)


def test_a_class_that_is_missing_in_a_split_keeps_its_number() -> None:
    for path in ("train/a/1.png", "train/b/1.png", "train/c/1.png", "test/a/1.png", "test/c/1.png"):
        put(f"images/{path}")

    found = listed()

    assert found.class_names == ("a", "b", "c")
    assert dict(zip(found.paths, found.labels.tolist(), strict=True))["test/c/1.png"] == 2


def test_all_may_lie_in_one_folder_of_an_archive() -> None:
    for path in ("data/a/1.png", "data/b/1.png"):
        put(f"images/{path}")

    assert listed(may_be_wrapped=True).class_names == ("a", "b")
    with pytest.raises(DataError, match="has 1 class folders"):
        listed()


@pytest.mark.parametrize("paths", [["images/cat/1.png"], ["images/1.png"]])
def test_fewer_than_two_classes_are_refused(paths: list[str]) -> None:
    for path in paths:
        put(path)

    with pytest.raises(DataError, match="class folders, must have at least 2: one sub-folder for each class"):
        listed()
