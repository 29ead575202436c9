import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from reconv.data import storage as module
from reconv.data.archives import ArchiveStorage
from reconv.data.storage import FolderStorage, Storage, on_disk, shown
from reconv.errors import DataError, ImageError

CONTENT = {"a/1.png": b"first", "b/2.png": b"second", "b/deep/3.png": b"third"}


def a_folder() -> Storage:
    for name, content in CONTENT.items():
        path = Path("root") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return FolderStorage(Path("root"))


def a_zip() -> Storage:
    with zipfile.ZipFile("root.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in CONTENT.items():
            archive.writestr(name, content)
    return ArchiveStorage(Path("root.zip"))


def tar(mode: str) -> Callable[[], Storage]:
    def make() -> Storage:
        with tarfile.open("root.tar", mode) as archive:
            archive.addfile(folder_member("a"))
            for name, content in CONTENT.items():
                archive.addfile(member(name, len(content)), io.BytesIO(content))
        return ArchiveStorage(Path("root.tar"))

    return make


def member(name: str, size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    return info


def folder_member(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    return info


KINDS = [a_folder, a_zip, tar("w"), tar("w:gz")]
IDS = ["folder", "zip", "tar", "tar.gz"]


@pytest.mark.parametrize("make", KINDS, ids=IDS)
def test_files_are_named_and_read_alike_wherever_they_lie(make: Callable[[], Storage]) -> None:
    with make() as storage:
        assert storage.names() == sorted(CONTENT)
        assert {name: storage.read(name) for name in storage.names()} == CONTENT


@pytest.mark.parametrize("make", KINDS, ids=IDS)
def test_a_file_that_is_not_there_is_no_image(make: Callable[[], Storage]) -> None:
    with make() as storage, pytest.raises(ImageError, match="cannot be read"):
        storage.read("a/gone.png")


@pytest.mark.parametrize("make", KINDS, ids=IDS)
def test_a_file_above_the_limit_is_not_read(make: Callable[[], Storage], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 5)
    with make() as storage:
        assert storage.read("a/1.png") == b"first"
        with pytest.raises(ImageError, match="has 6 bytes, must have 1 to 5"):
            storage.read("b/2.png")


@pytest.mark.parametrize("make", KINDS, ids=IDS)
def test_whatever_is_expected_is_still_read_or_refused_as_before(make: Callable[[], Storage]) -> None:
    with make() as storage:
        storage.expect([*CONTENT, "a", "missing.png", "zero\0byte.png", "n" * 300])

        assert {name: storage.read(name) for name in CONTENT} == CONTENT


def test_only_plain_files_of_the_folder_are_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = a_folder()
    Path("secret.png").write_bytes(b"x")
    Path("root/link.png").symlink_to("../secret.png")
    os.mkfifo("root/pipe.png")  # to wait for its writer would be to wait for ever
    advised: list[bytes] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda file, *_: advised.append(os.pread(file, 10, 0)))

    storage.expect(["b/2.png", "link.png", "pipe.png", "a/1.png"])

    assert advised == [b"second", b"first"]


def test_a_name_that_leads_out_is_not_read() -> None:
    Path("secret.png").write_bytes(b"x")

    with pytest.raises(ImageError, match="links out of root"):
        a_folder().read("../secret.png")


@pytest.mark.parametrize("root", ["nowhere", "file"])
def test_a_root_that_is_no_folder_is_named_with_the_reason(root: str) -> None:
    Path("file").write_bytes(b"x")

    with pytest.raises(DataError, match=rf"{root} cannot be read \((No such file|Not a directory)"):
        FolderStorage(Path(root)).names()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"a/\xff\xfe.png", "a/\\xff\\xfe.png"),
        ("grün 🙂.png".encode(), "grün 🙂.png"),
        (b"a\\b.png", "a\\\\b.png"),
        (b"\\xff.png", "\\\\xff.png"),
        (b"\\\xff.png", "\\\\\\xff.png"),
    ],
)
def test_any_name_on_the_disk_has_a_text_of_its_own(name: bytes, text: str) -> None:
    assert shown(os.fsdecode(name)) == text
    assert os.fsencode(on_disk(text)) == name


def test_a_pickled_storage_reads_the_same() -> None:
    for make in KINDS:
        with make() as storage:
            arrived = pickle.loads(pickle.dumps(storage))
            with arrived:
                assert [arrived.read(name) for name in arrived.names()] == list(CONTENT.values())
