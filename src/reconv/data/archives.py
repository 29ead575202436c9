"""Image files in a zip or tar file, which is not unpacked to a folder. Called by files, through storage's protocol."""

import gzip
import os
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Self

from reconv.data import storage
from reconv.data.storage import HEAD_BYTES, all_within, check_size, shown, stamp_of
from reconv.errors import DataError, ImageError

_TAR_BLOCK = 512
_MAX_UNPACKED_BYTES_EACH = 200  # of a byte of a compressed archive


class ArchiveStorage:
    """A compressed tar file is unpacked once, to a temporary file, so that any member can be read without all before
    it."""

    num_threads = 1

    def __init__(self, path: Path, name: str = "") -> None:
        """`name` is what messages call it, if that is not its path."""
        self._name = where = name or str(path)
        self._stamp = stamp_of(path) if path.exists() else ""
        with ExitStack() as opened:
            try:
                self._plain = _unpacked(path, where, opened)
                # A zip is known by its end, which a tar file's last member may have as well.
                members_of = _members_of_tar if tarfile.is_tarfile(self._plain) else _members_of_zip
                members = members_of(self._plain, where, opened)
                self._members = {shown(name): member for name, member in members.items()}
            except DataError:
                raise
            except Exception as error:  # of many kinds: IndexError for a name of no letters, RecursionError, ...
                raise DataError(
                    f"{where} cannot be read as a zip or tar archive ({error}): correct data.source or the file."
                ) from None
            self._names = [shown(name) for name in all_within(list(members), where)]
            self._opened = opened.pop_all()

    def __reduce__(self) -> tuple[type, tuple[Path, str]]:
        return type(self), (self._plain, self._name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def names(self) -> list[str]:
        return self._names

    def folders(self) -> list[str]:
        return []

    def expect(self, names: Sequence[str]) -> None:
        pass

    def stamp(self, _: str) -> str:
        """Of the archive."""
        return self._stamp

    def read(self, name: str) -> bytes:
        check_size(self._member(name).size)
        content = self._read(name, storage.MAX_FILE_BYTES + 1)
        check_size(len(content))  # the size that the archive states may be a lie
        return content

    def head(self, name: str) -> bytes:
        return self._read(name, HEAD_BYTES)

    def _read(self, name: str, size: int) -> bytes:
        member = self._member(name)
        try:
            return member.read(size)
        except Exception as error:  # of many kinds, as above; RuntimeError if it is encrypted
            raise ImageError(f"cannot be read ({error})") from None

    def _member(self, name: str) -> "_Member":
        if name not in self._members:
            raise ImageError("cannot be read (No such file or directory)")
        return self._members[name]


@dataclass(frozen=True)
class _Member:
    size: int
    read: Callable[[int], bytes]
    """At most so many bytes from its beginning."""


def _members_of_zip(path: Path, where: str, opened: ExitStack) -> dict[str, _Member]:
    archive = opened.enter_context(zipfile.ZipFile(path))

    def read(name: str, size: int) -> bytes:
        with archive.open(name) as file:
            return file.read(size)

    files = [info for info in archive.infolist() if not info.is_dir()]
    _refuse_bomb(sum(info.file_size for info in files), path, where)  # members may share their packed bytes
    return {info.filename: _Member(info.file_size, partial(read, info.filename)) for info in files}


def _members_of_tar(path: Path, where: str, opened: ExitStack) -> dict[str, _Member]:
    file = opened.enter_context(path.open("rb"))
    members = {}
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            if member.size < 0:  # by which tarfile would go back, and round for ever (CVE-2025-8194)
                raise tarfile.ReadError(f"{shown(member.name)} has {member.size} bytes")
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise DataError(
                    f"{where} holds {shown(member.name)}, which is no plain file but a link, a device or sparse: "
                    "leave it out."
                )
            # Beside each other, without a position in the file that threads would share.
            members[member.name] = _Member(member.size, partial(_read_of, file, member.size, member.offset_data))
        # What cannot be read as a header ends the list as well, and nobody would miss the rest.
        if any(_read_at(file, _TAR_BLOCK, archive.offset) or b"cut off"):
            raise tarfile.ReadError("it is damaged or cut off")
    return members


def _read_of(file: IO[bytes], size: int, offset: int, most: int) -> bytes:
    return _read_at(file, min(size, most), offset)


def _read_at(file: IO[bytes], size: int, offset: int) -> bytes:
    return os.pread(file.fileno(), size, offset)


def _unpacked(path: Path, where: str, opened: ExitStack) -> Path:
    """The archive itself, or a temporary one that is not compressed."""
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return path
    plain = opened.enter_context(tempfile.NamedTemporaryFile(prefix="reconv-", suffix=".tar"))  # noqa: SIM115
    with gzip.open(path) as packed:
        while chunk := packed.read(2**20):
            plain.write(chunk)
            _refuse_bomb(plain.tell(), path, where)
    plain.flush()
    return Path(plain.name)


def _refuse_bomb(num_bytes: int, path: Path, where: str) -> None:
    most = _MAX_UNPACKED_BYTES_EACH * path.stat().st_size
    if num_bytes > most:
        raise DataError(f"{where} unpacks to more than {most:,} bytes: images do not compress like that.")
