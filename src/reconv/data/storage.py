"""Where image files lie: read by name and never written to. Here a folder; archives.py and remote.py hold the others.
Called by listing and decoding.

A name is a path relative to the root, with "/" whatever the system; none leads out of the root.
"""

import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol, Self

from reconv.errors import DataError, ImageError

MAX_FILE_BYTES = 200 * 2**20
HEAD_BYTES = 32
"""Enough to tell the format of an image."""
_READ_AHEAD_BYTES = 2**20  # of each file; the system itself goes on from there
_TOO_NEW_NS = 2 * 10**9
_ESCAPE = re.compile(r"\\(?:x([89a-f][0-9a-f])|\\)")


class Storage(Protocol):
    """To be used in a `with` statement, which closes it. Pickled, it is opened anew where it arrives."""

    num_threads: int
    """So many that wait for others make reading faster; 1 where reading is this machine's own work."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def names(self) -> list[str]:
        """Return the names of all files, sorted. A hidden folder may stand there instead of what is in it.

        Raises:
            DataError: it cannot be read, or holds something that leads out of it.
        """

    def folders(self) -> list[str]:
        """Return the folders of the first two levels without hidden ones; none where only files are known."""

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            ImageError: it is missing, unreadable, no plain file, empty or above MAX_FILE_BYTES.
            DataError: it changes meanwhile, or what holds it cannot be reached.
        """

    def head(self, name: str) -> bytes:
        """Return the first HEAD_BYTES bytes of a file, or all if it has fewer.

        Raises:
            ImageError: it is missing, unreadable or not a plain file.
            DataError: what holds it cannot be reached.
        """

    def expect(self, names: Sequence[str]) -> None:
        """These are read soon, in this order: what can be done for that meanwhile is begun."""

    def stamp(self, name: str) -> str:
        """What is another one as soon as the file's content is; empty where that cannot be known without reading it."""


class FolderStorage:
    num_threads = 1

    def __init__(self, root: Path) -> None:
        self.root = root
        self._resolved = root.resolve()
        self._is_within: dict[Path, bool] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def names(self) -> list[str]:
        return sorted(self._files(self.root))

    def folders(self) -> list[str]:
        top = self._folders(self.root)
        return sorted(shown(folder.relative_to(self.root)) for one in top for folder in (one, *self._folders(one)))

    def read(self, name: str) -> bytes:
        with self._within(name) as path:
            return read_file(path, name)

    def head(self, name: str) -> bytes:
        with self._within(name) as path, _opened(path) as file:
            _check_is_plain(os.fstat(file.fileno()))
            return os.read(file.fileno(), HEAD_BYTES)

    def expect(self, names: Sequence[str]) -> None:
        """The system reads them from the disk while those before them are at work; links are left alone."""
        if not hasattr(os, "posix_fadvise"):
            return
        for name in names:
            with suppress(OSError, ValueError), _opened(self.root / on_disk(name), os.O_NOFOLLOW) as file:
                os.posix_fadvise(file.fileno(), 0, _READ_AHEAD_BYTES, os.POSIX_FADV_WILLNEED)

    def stamp(self, name: str) -> str:
        try:
            return stamp_of(self.root / on_disk(name))
        except (OSError, ValueError):
            return ""

    @staticmethod
    def _folders(folder: Path) -> list[Path]:
        with suppress(OSError), os.scandir(folder) as entries:  # `names` says what cannot be read
            return [Path(one) for one in entries if one.is_dir(follow_symlinks=False) and one.name[0] != "."]
        return []

    @contextmanager
    def _within(self, name: str) -> Iterator[Path]:
        path = self.root / on_disk(name)
        try:
            if self._leads_out(path):
                raise ImageError(f"links out of {self.root}")
            yield path
        except (OSError, ValueError) as error:  # the latter of a name with a zero byte
            raise ImageError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from None

    def _leads_out(self, path: Path) -> bool:
        """What is no link is where its folder is, and that is looked up once."""
        if path.is_symlink():
            return not Path(os.path.realpath(path)).is_relative_to(self._resolved)
        folder = path.parent
        if folder not in self._is_within:
            self._is_within[folder] = Path(os.path.realpath(folder)).is_relative_to(self._resolved)
        return not self._is_within[folder]

    def _files(self, folder: Path) -> Iterator[str]:
        """Whatever is no folder: what is no file either is refused when it is read, not left out unseen. A link to a
        folder within the root is not followed: its files are listed there."""
        try:
            for entry in [*os.scandir(folder)]:
                path = Path(entry.path)
                if entry.name.startswith("."):
                    yield shown(path.relative_to(self.root))
                elif entry.is_symlink() and self._leads_out(path):
                    raise DataError(f"{shown(path)} links out of {self.root}: copy what it leads to into the folder.")
                elif entry.is_dir(follow_symlinks=False):
                    yield from self._files(path)
                elif not (entry.is_symlink() and path.is_dir()):
                    yield shown(path.relative_to(self.root))
        except OSError as error:
            raise DataError(
                f"{shown(folder)} cannot be read ({error.strerror}): correct data.source in params.yaml "
                "or its permissions."
            ) from None


def read_file(path: Path, name: str) -> bytes:
    """The content of a plain file of allowed size; nothing else is waited for, as a pipe would be.

    Raises:
        OSError: it cannot be read.
        ImageError: it is no plain file, empty or above MAX_FILE_BYTES.
        DataError: it changes meanwhile.
    """
    with _opened(path) as file:
        before = os.fstat(file.fileno())
        _check_is_plain(before)
        check_size(before.st_size)
        content = file.read(before.st_size + 1)
        after = os.fstat(file.fileno())
    if (len(content), after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise DataError(f"{name} changed while it was read: wait until it is written, then run the same command.")
    return content


def _check_is_plain(about: os.stat_result) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise ImageError("is no file but a folder, a pipe or a device")


def _opened(path: Path, flags: int = 0) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags), "rb")


def stamp_of(path: Path) -> str:
    """Size, times and number of a file. Empty of a file so new that one more change may not show in its times."""
    about = path.stat()
    if time.time_ns() - about.st_mtime_ns < _TOO_NEW_NS:
        return ""
    return f"{about.st_size}-{about.st_mtime_ns}-{about.st_ctime_ns}-{about.st_ino}"


def check_size(size: int) -> None:
    if not 0 < size <= MAX_FILE_BYTES:
        raise ImageError(f"has {size:,} bytes, must have 1 to {MAX_FILE_BYTES:,}")


def all_within(names: list[str], where: str) -> list[str]:
    """Return the names, sorted.

    Raises:
        DataError: one leads out of `where`.
    """
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise DataError(f"{where} holds {name!r}, which leads out of it: an honest one has no such name.")
    return sorted(names)


def shown(name: str | Path) -> str:
    r"""A name as the disk has it -> text that any file takes: bytes that are no UTF-8 as \xNN, a backslash doubled."""
    return os.fsencode(name).replace(b"\\", rb"\\").decode("utf-8", "backslashreplace")


def on_disk(name: str) -> str:
    """The inverse of `shown`."""
    return _ESCAPE.sub(lambda found: os.fsdecode(bytes.fromhex(found[1])) if found[1] else "\\", name)
