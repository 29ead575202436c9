from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reconv.data import folder as module
from reconv.data.folder import FolderSource, read_image_bytes
from reconv.errors import DataError


def put(path: str, content: bytes | None = None) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        Image.new("L", (4, 4), len(path)).save(file)
    else:
        file.write_bytes(content)
    return file


def fetch(root: Path = Path("images")) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    class_names, arrays = FolderSource(root).fetch(Path("raw"), lambda _: None)
    return class_names, dict(arrays)


def test_every_image_is_listed_with_its_class_and_sum() -> None:
    for path in ("images/dog/2.png", "images/cat/b/1.PNG", "images/cat/0.jpg"):
        put(path)

    class_names, arrays = fetch()

    assert class_names == ("cat", "dog")
    assert arrays["paths.npy"].tolist() == ["cat/0.jpg", "cat/b/1.PNG", "dog/2.png"]
    assert arrays["labels.npy"].tolist() == [0, 0, 1]
    assert all(len(digest) == 64 for digest in arrays["sha256.npy"].tolist())


def test_hidden_files_and_other_kinds_are_left_out() -> None:
    for path in ("images/a/1.png", "images/b/1.png"):
        put(path)
    for path in ("images/a/.hidden.png", "images/a/notes.txt", "images/.git/x.png", "images/readme.md"):
        put(path, b"x")
    Path("images/a/folder.png").mkdir()

    class_names, arrays = fetch()

    assert class_names == ("a", "b")
    assert arrays["paths.npy"].tolist() == ["a/1.png", "b/1.png"]


def test_the_list_does_not_depend_on_where_the_folder_is() -> None:
    for path in ("here/a/1.png", "here/b/1.png"):
        put(path)
    here = fetch(Path("here"))
    Path("here").rename("there")

    there = fetch(Path("there"))

    assert here[0] == there[0]
    for name, array in here[1].items():
        np.testing.assert_array_equal(array, there[1][name])


def test_class_without_images_is_named() -> None:
    put("images/cat/1.png")
    put("images/dog/notes.txt", b"no image")

    with pytest.raises(DataError, match="class folder images/dog holds no image"):
        fetch()


@pytest.mark.parametrize("paths", [["images/cat/1.png"], ["images/1.png"]])
def test_fewer_than_two_classes_are_refused(paths: list[str]) -> None:
    for path in paths:
        put(path)

    with pytest.raises(DataError, match="class folders, must have at least 2: one sub-folder for each class"):
        fetch()


@pytest.mark.parametrize("root", ["nowhere", "file"])
def test_root_that_is_no_folder_is_named_with_the_reason(root: str) -> None:
    put("file", b"x")

    with pytest.raises(DataError, match=rf"{root}, which cannot be read \((No such file|Not a directory)"):
        fetch(Path(root))


def test_link_out_of_the_folder_is_refused() -> None:
    for path in ("images/a/1.png", "images/b/1.png", "secret/1.png"):
        put(path)
    Path("images/a/2.png").symlink_to(Path("secret/1.png").resolve())

    with pytest.raises(DataError, match=r"images/a/2\.png links out of images"):
        fetch()


def test_class_folder_that_links_out_is_refused() -> None:
    for path in ("images/a/1.png", "images/b/1.png", "secret/1.png"):
        put(path)
    Path("images/c").symlink_to(Path("secret").resolve())

    with pytest.raises(DataError, match="links out of images"):
        fetch()


def test_link_within_the_folder_is_an_image() -> None:
    for path in ("images/a/1.png", "images/b/1.png"):
        put(path)
    Path("images/a/2.png").symlink_to(Path("images/b/1.png").resolve())

    assert "a/2.png" in fetch()[1]["paths.npy"].tolist()


def test_empty_file_is_refused() -> None:
    put("images/a/1.png")
    put("images/b/1.png", b"")

    with pytest.raises(DataError, match=r"images/b/1\.png has 0 bytes, must have 1 to"):
        fetch()


def test_too_large_file_is_refused_without_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 10)

    with pytest.raises(DataError, match="has 11 bytes, must have 1 to 10"):
        read_image_bytes(put("large.png", bytes(11)))


def test_missing_file_is_named() -> None:
    with pytest.raises(DataError, match=r"gone\.png cannot be read \(No such file"):
        read_image_bytes(Path("gone.png"))
