"""Where image files lie: a folder or an archive, read by name and never written to. Called by listing and decoding.

A name is a path relative to the root, with "/" whatever the system; none leads out of the root.
"""

import gzip
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, Self

from reconv.errors import DataError, ImageError

MAX_FILE_BYTES = 200 * 2**20
_BROKEN = (zlib.error, tarfile.TarError, zipfile.BadZipFile)
_MAX_UNPACKED_BYTES_EACH = 200  # of a byte of a compressed archive


class Storage(Protocol):
    """To be used in a `with` statement, which closes it. Pickled, it is opened anew where it arrives."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def names(self) -> list[str]:
        """Of all files, hidden ones and folders left out, in the order of their names.

        Raises:
            DataError: it cannot be read, or holds something that leads out of it.
        """

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            ImageError: it is missing, unreadable, empty or above MAX_FILE_BYTES.
        """


class FolderStorage:
    def __init__(self, root: Path) -> None:
        self.root = root
        self._resolved = root.resolve()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def names(self) -> list[str]:
        return sorted(self._files(self.root))

    def read(self, name: str) -> bytes:
        path = self.root / name
        try:
            if not path.resolve().is_relative_to(self._resolved):
                raise ImageError(f"links out of {self.root}")
            with path.open("rb") as file:
                _check_size(os.fstat(file.fileno()).st_size)
                content = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise ImageError(f"cannot be read ({error.strerror})") from None
        _check_size(len(content))  # it may have grown meanwhile
        return content

    def _files(self, folder: Path) -> Iterator[str]:
        try:
            entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
            for entry in entries:
                path = Path(entry.path)
                if entry.is_symlink() and not path.resolve().is_relative_to(self._resolved):
                    raise DataError(f"{path} links out of {self.root}: copy what it leads to into the folder.")
                if entry.is_dir(follow_symlinks=False):
                    yield from self._files(path)
                elif entry.is_file():
                    # A name that is no UTF-8 is shown as what it is, and cannot be read by that.
                    yield os.fsencode(path.relative_to(self.root)).decode("utf-8", "backslashreplace")
        except OSError as error:
            raise DataError(
                f"{folder} cannot be read ({error.strerror}): correct the path in params.yaml or its permissions."
            ) from None


class ArchiveStorage:
    """A zip or tar file. A compressed tar file is unpacked once, to a temporary file, so that any member can be read
    without all before it."""

    def __init__(self, path: Path) -> None:
        with ExitStack() as opened:
            try:
                self._plain = _unpacked(path, opened)
                members_of = _members_of_zip if zipfile.is_zipfile(self._plain) else _members_of_tar
                self._members = members_of(self._plain, opened)
            except (OSError, EOFError, *_BROKEN) as error:
                raise DataError(
                    f"{path} cannot be read as a zip or tar archive ({error}): correct data.source or the file."
                ) from None
            for name in self._members:
                if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
                    raise DataError(
                        f"{path} holds {name!r}, which leads out of it: an honest archive has no such name."
                    )
            self._opened = opened.pop_all()

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        return type(self), (self._plain,)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def names(self) -> list[str]:
        return sorted(
            name for name in self._members if not any(part.startswith(".") for part in PurePosixPath(name).parts)
        )

    def read(self, name: str) -> bytes:
        if name not in self._members:
            raise ImageError("cannot be read (No such file or directory)")
        member = self._members[name]
        _check_size(member.size)
        try:
            content = member.read()
        except (OSError, EOFError, RuntimeError, NotImplementedError, ValueError, *_BROKEN) as error:
            raise ImageError(f"cannot be read ({error})") from None
        _check_size(len(content))  # the size that the archive states may be a lie
        return content


@dataclass(frozen=True)
class _Member:
    size: int
    read: Callable[[], bytes]
    """At most MAX_FILE_BYTES and one more."""


def _members_of_zip(path: Path, opened: ExitStack) -> dict[str, _Member]:
    archive = opened.enter_context(zipfile.ZipFile(path))

    def read(name: str) -> bytes:
        with archive.open(name) as file:
            return file.read(MAX_FILE_BYTES + 1)

    files = (info for info in archive.infolist() if not info.is_dir())
    return {info.filename: _Member(info.file_size, partial(read, info.filename)) for info in files}


def _members_of_tar(path: Path, opened: ExitStack) -> dict[str, _Member]:
    file = opened.enter_context(path.open("rb"))
    members = {}
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            if member.isdir():
                continue
            if not member.isreg():
                raise DataError(f"{path} holds {member.name}, which is no file but a link or a device: leave it out.")
            # Beside each other, without a position in the file that threads would share.
            read = partial(_read_at, file, member.size, member.offset_data)
            members[member.name] = _Member(member.size, read)
    return members


def _read_at(file: IO[bytes], size: int, offset: int) -> bytes:
    return os.pread(file.fileno(), size, offset)


def _unpacked(path: Path, opened: ExitStack) -> Path:
    """The archive itself, or a temporary one that is not compressed."""
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return path
    most = _MAX_UNPACKED_BYTES_EACH * path.stat().st_size
    plain = opened.enter_context(tempfile.NamedTemporaryFile(prefix="reconv-", suffix=".tar"))  # noqa: SIM115
    with gzip.open(path) as packed:
        while chunk := packed.read(2**20):
            plain.write(chunk)
            if plain.tell() > most:
                raise DataError(f"{path} unpacks to more than {most:,} bytes: images do not compress like that.")
    plain.flush()
    return Path(plain.name)


def _check_size(size: int) -> None:
    if not 0 < size <= MAX_FILE_BYTES:
        raise ImageError(f"has {size:,} bytes, must have 1 to {MAX_FILE_BYTES:,}")
