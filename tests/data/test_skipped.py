import io
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from reconv.data.archives import ArchiveStorage
from reconv.data.remote import RemoteStorage
from reconv.data.skipped import grouped, not_images, sort_out
from reconv.data.storage import FolderStorage


def image(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9)).save(buffer, kind)
    return buffer.getvalue()


CONTENT = {
    "photo": image("JPEG"),
    "scan.1": image("TIFF"),
    "drawing.dat": image("BMP"),
    "words.txt": b"BMI, age\n" * 9,
    "raw.dng": image("TIFF"),
    "empty": b"",
    "page.jpg": b"<html>",
}


@pytest.mark.parametrize("where", ["folder", "zip", "s3"])
def test_the_first_bytes_tell_wherever_the_files_are(where: str, request: pytest.FixtureRequest) -> None:
    """What is named like an image is not looked at: it is read as a whole anyway."""
    Path("files").mkdir()
    for name, content in CONTENT.items():
        Path("files", name).write_bytes(content)
    if where == "folder":
        storage: Any = FolderStorage(Path("files"))
    elif where == "zip":
        storage = ArchiveStorage(Path(shutil.make_archive("files", "zip", "files")))
    else:
        bucket = request.getfixturevalue("bucket")
        for name in CONTENT:
            bucket.upload_file(f"files/{name}", name)
        storage = RemoteStorage("s3://parts", Path("downloads"), is_fresh=True)

    with storage:
        found = not_images(storage, storage.names())

    assert found == dict.fromkeys(("empty", "raw.dng", "words.txt"), "not an image")
    assert not Path("downloads").exists()


def test_of_a_large_file_of_another_kind_only_the_first_bytes_are_read() -> None:
    Path("files").mkdir()
    with Path("files/film").open("wb") as file:
        file.truncate(10 * 2**40)
    with zipfile.ZipFile("packed.zip", "w") as archive:
        archive.writestr("film", b"noise")

    assert not_images(FolderStorage(Path("files")), ["film"]) == {"film": "not an image"}


def test_of_hidden_folders_and_those_of_systems_only_the_name_is_told() -> None:
    names = ["a/1.png", "a/.git/x", "a/.git/y", "a/.z.png", "a/@eaDir/1.png/S.jpg", "__MACOSX/a/._1.png", "./b/1.png"]

    kept, skipped = sort_out(names)

    assert kept == ["a/1.png", "./b/1.png"]
    assert skipped == {
        "a/.git": "hidden",
        "a/.z.png": "hidden",
        "a/@eaDir": "of the system",
        "__MACOSX": "of the system",
    }


def test_what_was_skipped_is_bounded_and_what_matters_comes_first() -> None:
    reasons = {f"{number:04d}.txt": "not an image" for number in range(1000)}

    groups = grouped({".a": "hidden", **reasons, "x.json": "not an image", "z.png": "outside the class folders"})

    assert [(group.reason, group.count, group.kinds) for group in groups] == [
        ("outside the class folders", 1, ("z.png",)),
        ("not an image", 1001, (".txt", ".json")),
        ("hidden", 1, (".a",)),
    ]
    assert len(groups[1].files) == 50
