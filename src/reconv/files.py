"""Atomic writers and readers of single files, and digests of what is in them.

A file is complete or absent: it is written under a temporary name in its folder, flushed to the disk, then renamed.
What a running stage keeps may lie in a store that fsspec opens, where a file is uploaded before it is renamed.
"""

import errno
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import stat
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO, Union
from zipfile import BadZipFile, ZipFile, ZipInfo

from reconv.errors import DataError, ParamsError
from reconv.masking import masked
from reconv.untrusted import as_cell, from_cell

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from upath import UPath

_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Free space there"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Correct its permissions or choose another place"),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), "It must be a folder: move the file away or choose another place"),
    errno.EISDIR: "It must be a file: move the folder away or choose another place",
    errno.EFBIG: "Raise the limit on the size of files (`ulimit -f`)",
    errno.ENAMETOOLONG: "Choose a shorter path",
    errno.EIO: "Check that disk",
}
REFUSED_BY_DISK = tuple(_REMEDIES)
"""Numbers of an OSError that a user can fix."""
_MAX_COMPRESSION, _MIN_UNPACKED_BYTES = 20, 64 * 2**20
"""Our own arrays are far below it: pictures of one colour are small, and digests do not compress."""
AnyPath = Union[Path, "UPath"]
"""In a folder of this machine, or in a store behind a URL."""


def refusal(error: BaseException) -> str | None:
    """Say what the system refused, where, and what to do; None if this is not an error that a user can fix."""
    if not isinstance(error, OSError) or error.errno not in _REMEDIES:
        return None
    # The second name of a copy is its destination, whose disk is the full one.
    name = error.filename2 or error.filename
    place = Path(os.fsdecode(name)).absolute() if name else Path.cwd()
    if error.errno == errno.ENOTDIR:
        place = next((parent for parent in (place, *place.parents) if parent.is_file()), place)
    reason, remedy = os.strerror(error.errno), _REMEDIES[error.errno]
    return f"{reason} ({place}).\n{remedy}, then run the same command again."


@contextmanager
def atomic(path: AnyPath) -> Iterator[Path]:
    """Yields a temporary path of this machine; renamed to `path` if the block succeeds, removed if not."""
    if not isinstance(path, Path):
        with TemporaryDirectory(prefix="reconv-") as folder:
            yield Path(folder) / path.name
            put(Path(folder) / path.name, path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        put(temporary, path)
    except OSError as error:  # it names the temporary file, or none if the disk is full
        if error.errno in _REMEDIES and temporary.name in str(error.filename or temporary):
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def put(file: Path, path: AnyPath) -> None:
    """Move a file to its place, whole or not at all; to a folder of this machine from the same file system."""
    if not isinstance(path, Path):
        return upload(file, path)
    with file.open("rb+") as written:
        os.fsync(written.fileno())
    file.replace(path)
    return None


def opened_store(url: str) -> "UPath":
    """A folder behind a URL that fsspec can open; an absolute path is a URL as well.

    Raises:
        ParamsError: no such kind of URL, or its package is missing.
    """
    from upath import UPath

    try:
        # What other machines write there is seen at once.
        store = UPath(url if "://" in url else Path(url).absolute().as_uri(), use_listings_cache=False)
        store.fs  # noqa: B018 - which opens it
    except (ImportError, ValueError) as error:
        reason = masked(str(error), url)
        raise ParamsError(f"resources.storage is {url}, which cannot be opened ({reason}).") from None
    return store


def upload(file: Path, path: "UPath") -> None:
    """A file of this machine to a place of a store, where it is complete or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    path.fs.put_file(str(file), partial.path)
    path.fs.mv(partial.path, path.path)


@contextmanager
def local_copy(path: AnyPath) -> Iterator[Path]:
    """Yields a path of this machine with the content of `path`: itself, or a copy that is gone after the block."""
    if isinstance(path, Path):
        yield path
        return
    with TemporaryDirectory(prefix="reconv-") as folder:
        copy = Path(folder) / path.name
        path.fs.get_file(path.path, str(copy))
        yield copy


def lock_within(file: int, seconds: float) -> None:
    """Lock an open file for this process only.

    Raises:
        BlockingIOError: another process still holds it after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.1)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name `path` in an OSError of this block that names no file, as that of a write to a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno in _REMEDIES and not error.filename:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def write_at(path: Path, offset: int, content: "NDArray[Any]") -> None:
    """Into a file that is there, all of it or an OSError: a full disk takes a part of what is written unbuffered."""
    with writing(path), path.open("rb+") as file:
        file.seek(offset)
        file.write(content.data)


def write_text(path: AnyPath, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: AnyPath, content: bytes) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: AnyPath, value: Any) -> None:
    """`value` as readable JSON; NaN is refused, as no other reader would accept it."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


@contextmanager
def open_regular(path: Path, max_bytes: int | None = None) -> Iterator[BinaryIO]:
    """Open a regular file for reading, or what a link to one points to.

    Raises:
        OSError: it is missing, a folder, a FIFO (which would block), a device, or too large.
    """
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        os.close(file)
        raise OSError("it is not a regular file")
    with os.fdopen(file, "rb") as opened:
        if max_bytes is not None and status.st_size > max_bytes:
            raise OSError(f"it has {status.st_size:,} bytes, must have at most {max_bytes:,}")
        yield opened


def read_json(path: AnyPath, max_bytes: int | None = None) -> Any:
    """Raises DataError if it is missing, not a regular file, larger than `max_bytes`, or not JSON (NaN is not)."""
    try:
        return json.loads(_read_text(path, max_bytes), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: run `dvc repro`, which makes it.") from None
    except RecursionError:
        raise DataError(f"{path} cannot be read (it is nested too deeply): delete it and run `dvc repro`.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): delete it and run `dvc repro`.") from None


def _read_text(path: AnyPath, max_bytes: int | None) -> str:
    if not isinstance(path, Path):
        return str(path.read_text(encoding="utf-8"))
    with open_regular(path, max_bytes) as file:
        return file.read().decode()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")


def write_array(path: Path, array: "NDArray[Any]") -> None:
    """`array` as .npy; nothing is pickled."""
    import numpy as np

    with atomic(path) as temporary, temporary.open("wb") as file:
        try:
            np.save(file, array, allow_pickle=False)
        except OSError as error:
            if error.errno is None:  # numpy's "N requested and M written" means a full disk, but does not say so
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from None
            raise


def write_arrays(path: Path, arrays: Mapping[str, "NDArray[Any]"]) -> None:
    """As .npz; the same arrays give the same bytes."""
    import numpy as np

    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_arrays(path: Path) -> dict[str, "NDArray[Any]"]:
    """Return name -> array of an .npz file; nothing is unpickled.

    Raises:
        DataError: it is missing or damaged, or unpacks to far more bytes than it has.
    """
    try:
        with open_regular(path) as file, ZipFile(file) as archive:
            infos = archive.infolist()
            bound = _MIN_UNPACKED_BYTES + _MAX_COMPRESSION * os.fstat(file.fileno()).st_size
            if (unpacked := sum(info.file_size for info in infos)) > bound:
                raise ValueError(f"it unpacks to {unpacked:,} bytes, must be at most {bound:,}")
            return {info.filename.removesuffix(".npy"): _read_array(archive, info) for info in infos}
    # What zipfile and numpy raise for a broken file: an unknown compression, a password, an array larger than memory.
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error, RuntimeError, MemoryError) as error:
        raise DataError(f"{path} cannot be read ({error}): run `dvc repro`.") from None


def _read_array(archive: ZipFile, info: ZipInfo) -> "NDArray[Any]":
    """Raises ValueError if the header promises another number of bytes than the file has."""
    import numpy as np

    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, is_fortran, dtype = read_header[version](file)
        size = math.prod(shape) * dtype.itemsize
        content = b"" if dtype.hasobject or min((0, *shape)) < 0 else file.read(size)
        if not 0 <= size == len(content) or file.read(1):
            raise ValueError(f"{info.filename} does not hold an array of {shape} {dtype}")
    return np.ndarray(shape, dtype, bytearray(content), order="F" if is_fortran else "C")


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Write `table` without its index; no text in it is a formula to a spreadsheet. `read_csv` restores it."""
    safe = table.assign(**{str(name): _as_cells(column) for name, column in table.items() if not _is_number(column)})
    with atomic(path) as temporary:
        safe.to_csv(temporary, index=False)


def _is_number(column: "pd.Series[Any]") -> bool:
    return column.dtype.kind in "biuf"


def _as_cells(column: "pd.Series[Any]") -> "pd.Series[Any]":
    return column.map(lambda value: as_cell(value) if isinstance(value, str) else value)


def read_csv(path: Path, texts: Sequence[str]) -> "pd.DataFrame":
    """Read what `write_csv` wrote; the columns `texts` stay text, even what looks like a number or a missing value."""
    import pandas as pd

    table = pd.read_csv(path, dtype=dict.fromkeys(texts, str), keep_default_na=False)
    return table.assign(**{name: table[name].map(from_cell) for name in texts})


def write_parquet(path: Path, table: "pd.DataFrame") -> None:
    with atomic(path) as temporary:
        table.to_parquet(temporary, index=False)


def clear_dir(path: AnyPath) -> AnyPath:
    """An empty folder at `path`."""
    if not isinstance(path, Path):
        if path.exists():
            path.fs.rm(path.path, recursive=True)
        return path
    path.mkdir(parents=True, exist_ok=True)
    for child in path.iterdir():  # the folder itself may be a mount
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()
    return path


def sha256_of_file(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def md5_of_file(path: Path) -> str:
    """Return the digest by which DVC names what is in a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON-like value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def slug(text: str) -> str:
    """`text` as a name for files and registered models."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-") or "images"
