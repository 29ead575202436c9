"""How the prepared images reach the workers of a training. Called by the search and by trainings side by side.

On this machine every process maps the same files. The nodes of a cluster need share no file system: they get the images
through Ray's object store, which maps them once per node, or, where they are too many for it, as files that each node
fetches once from `resources.storage`. Only what is trained on and validated with is delivered, never the test images.
"""

import fcntl
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reconv.artifacts import Manifest
from reconv.data.arrays import PreparedData
from reconv.errors import DataError
from reconv.files import digest_of, lock_within, opened_store, read_json, sha256_of_file, write_json
from reconv.training.cluster import Session

_DELIVERED = "development-*.npy"
_DESCRIBED = ("manifest.json", "data_report.json")
_SUMS = "sha256.json"  # written last
_MOST_OF_THE_OBJECT_STORE = 0.5
_FETCH_SECONDS = 3600  # for all images, by the one process of a node that fetches them


class Delivery(Protocol):
    """Travels to the worker, which opens it there."""

    def open(self) -> PreparedData:
        """Raises DataError if what arrives is not what was sent."""


def deliver(data: PreparedData, session: Session) -> Delivery:
    """The way that suits the session.

    Raises:
        DataError: the nodes' object stores are too small for the images, and there is no storage.
    """
    if session.shares_files:
        return InFolder(data.folder)
    sizes = [path.stat().st_size for path in _files(data.folder)]
    room = int(session.object_store_bytes * _MOST_OF_THE_OBJECT_STORE)
    if sum(sizes) <= room:
        import ray

        arrays = {path.name: ray.put(np.load(path, mmap_mode="r")) for path in _files(data.folder)}
        return InObjectStore(data.manifest, arrays)
    if session.storage is None:
        raise DataError(
            f"the images to train with take {sum(sizes):,} bytes, Ray's object store on the smallest node has room for "
            f"{room:,}: set resources.storage to a place that every node reaches, or start Ray with more "
            "(--object-store-memory)."
        )
    return _uploaded(data.folder, session.storage)


@dataclass(frozen=True)
class InFolder:
    folder: Path

    def open(self) -> PreparedData:
        return PreparedData(self.folder)


@dataclass(frozen=True)
class InObjectStore:
    manifest: Manifest
    arrays: Mapping[str, Any]
    """Name of a file -> reference to its array."""

    def open(self) -> PreparedData:
        import ray

        # Mapped memory that several processes share may not be written to, and is not.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return _Mapped(
            self.manifest, dict(zip(self.arrays, ray.get([*self.arrays.values()], timeout=_FETCH_SECONDS), strict=True))
        )


class _Mapped(PreparedData):
    def __init__(self, manifest: Manifest, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.manifest = manifest
        self._mapped = {}
        self._arrays = arrays

    def array(self, file: str, dtype: type[np.generic]) -> NDArray[Any]:
        return self._arrays[file]


@dataclass(frozen=True)
class InStorage:
    url: str
    """Of a folder."""
    sums: Mapping[str, str]
    """Name of a file -> SHA-256."""

    def open(self) -> PreparedData:
        cache = _cache()
        with _locked(cache / f"{self.digest}.lock") as lock:
            folder = cache / self.digest
            if not (folder / _SUMS).exists():
                _forget_others(cache, keep=self.digest)
                self._fetch(folder)
            fcntl.flock(lock, fcntl.LOCK_SH)
            _in_use.append(os.dup(lock.fileno()))  # until this process ends, no other takes the folder away
        return PreparedData(folder)

    @property
    def digest(self) -> str:
        return digest_of(self.sums)[:32]

    def _fetch(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        source = opened_store(self.url)
        for name, expected in self.sums.items():
            source.fs.get_file((source / name).path, str(folder / name))
            if sha256_of_file(folder / name) != expected:
                raise DataError(
                    f"{source / name} is not what was written there: delete {source} and run the same command."
                )
        write_json(folder / _SUMS, dict(self.sums))


_in_use: list[int] = []


def _files(prepared: Path) -> list[Path]:
    return sorted(prepared.glob(_DELIVERED))


def _uploaded(prepared: Path, storage: str) -> InStorage:
    """Each content has a folder of its own, so that what is there already is not sent again."""
    files = [*_files(prepared), *(prepared / name for name in _DESCRIBED)]
    sums = {path.name: sha256_of_file(path) for path in files}
    delivery = InStorage(str(opened_store(storage) / "prepared" / digest_of(sums)[:32]), sums)
    target = opened_store(delivery.url)
    if not (target / _SUMS).exists() or read_json(target / _SUMS) != sums:
        target.mkdir(parents=True, exist_ok=True)
        for path in files:
            target.fs.put_file(str(path), (target / path.name).path)
        write_json(target / _SUMS, sums)
    return delivery


def _cache() -> Path:
    """A folder of this user's alone."""
    cache = Path(gettempdir()) / f"reconv-{os.getuid()}"
    cache.mkdir(mode=0o700, exist_ok=True)
    about = cache.lstat()
    if cache.is_symlink() or about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise DataError(f"{cache} belongs to someone else, or others may write to it: delete it on this node.")
    return cache


@contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    with path.open("a") as lock:
        try:
            lock_within(lock.fileno(), _FETCH_SECONDS)
        except BlockingIOError:
            raise DataError(
                f"another process of this node has been fetching the images for {_FETCH_SECONDS} s (it holds {path}): "
                "end it, then run the same command again to resume."
            ) from None
        yield lock


def _forget_others(cache: Path, keep: str) -> None:
    """What no process of this node uses any more, lest a disk fills up with every data set that there ever was."""
    for path in cache.glob("*.lock"):
        if path.stem == keep:
            continue
        with path.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(cache / path.stem, ignore_errors=True)
