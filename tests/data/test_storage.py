import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from reconv.data import storage as module
from reconv.data.archives import ArchiveStorage
from reconv.data.storage import FolderStorage, Storage
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


@pytest.mark.parametrize("link", ["a/2.png", "c"])
def test_a_link_out_of_the_folder_is_refused(link: str) -> None:
    a_folder()
    Path("secret").mkdir()
    Path("secret/1.png").write_bytes(b"x")
    target = Path("secret/1.png" if link.endswith("png") else "secret").resolve()
    (Path("root") / link).symlink_to(target)

    with pytest.raises(DataError, match=rf"root/{link} links out of root"):
        FolderStorage(Path("root")).names()


def test_a_link_within_the_folder_is_a_file() -> None:
    storage = a_folder()
    Path("root/a/9.png").symlink_to(Path("root/b/2.png").resolve())

    assert "a/9.png" in storage.names()
    assert storage.read("a/9.png") == b"second"


def test_a_name_that_leads_out_is_not_read() -> None:
    Path("secret.png").write_bytes(b"x")

    with pytest.raises(ImageError, match="links out of root"):
        a_folder().read("../secret.png")


def test_a_circle_of_links_ends() -> None:
    storage = a_folder()
    Path("root/a/again").symlink_to(Path("root").resolve())

    assert storage.names() == sorted(CONTENT)


@pytest.mark.parametrize("root", ["nowhere", "file"])
def test_a_root_that_is_no_folder_is_named_with_the_reason(root: str) -> None:
    Path("file").write_bytes(b"x")

    with pytest.raises(DataError, match=rf"{root} cannot be read \((No such file|Not a directory)"):
        FolderStorage(Path(root)).names()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named() -> None:
    storage = a_folder()
    Path("root/a").chmod(0)

    with pytest.raises(DataError, match="root/a cannot be read"):
        storage.names()


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "a\\..\\evil.png"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_that_leads_out_is_refused(name: str, kind: str) -> None:
    if kind == "zip":
        with zipfile.ZipFile("root.zip", "w") as archive:
            archive.writestr(name, b"x")
    else:
        with tarfile.open("root.zip", "w") as archive:
            archive.addfile(member(name, 1), io.BytesIO(b"x"))

    with pytest.raises(DataError, match="leads out of it"):
        ArchiveStorage(Path("root.zip"))
    assert not Path("../evil.png").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_an_archive_with_anything_but_files_is_refused(kind: bytes) -> None:
    info = member("a/1.png")
    info.type, info.linkname = kind, "/etc/passwd"
    with tarfile.open("root.tar", "w") as archive:
        archive.addfile(info)

    with pytest.raises(DataError, match="is no plain file but a link"):
        ArchiveStorage(Path("root.tar"))


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04broken", b"\x1f\x8bbroken", bytes(10)])
def test_what_is_no_archive_is_refused(content: bytes) -> None:
    Path("root.zip").write_bytes(content)

    with pytest.raises(DataError, match=r"root\.zip cannot be read as a zip or tar"):
        ArchiveStorage(Path("root.zip"))


def test_an_archive_that_is_cut_off_is_refused() -> None:
    with tar("w:gz")():
        pass
    content = Path("root.tar").read_bytes()
    Path("root.tar").write_bytes(content[: len(content) // 2])

    with pytest.raises(DataError, match="cannot be read as a zip or tar"):
        ArchiveStorage(Path("root.tar"))


def test_a_bomb_of_an_archive_stops_early() -> None:
    Path("root.tar").write_bytes(gzip.compress(bytes(100 * 2**20)))

    with pytest.raises(DataError, match="unpacks to more than"):
        ArchiveStorage(Path("root.tar"))


def test_an_encrypted_or_lying_member_is_no_image() -> None:
    with zipfile.ZipFile("root.zip", "w") as archive:
        archive.writestr("a.png", b"content")
    content = bytearray(Path("root.zip").read_bytes())
    content[content.index(b"content")] ^= 1  # its checksum no longer fits
    Path("root.zip").write_bytes(content)

    with ArchiveStorage(Path("root.zip")) as storage, pytest.raises(ImageError, match="cannot be read"):
        storage.read("a.png")


def test_hidden_members_are_left_out() -> None:
    with zipfile.ZipFile("root.zip", "w") as archive:
        for name in ("a/1.png", "a/.hidden.png", ".git/2.png", "__MACOSX/a/._1.png"):
            archive.writestr(name, b"x")

    with ArchiveStorage(Path("root.zip")) as storage:
        assert storage.names() == ["a/1.png"]
