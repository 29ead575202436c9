"""What may be predicted: a folder, a table, an archive, a single image, each here or behind a URL, or packed pixels.

N images; H height, W width, C channels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from reconv.artifacts import SkippedFiles
from reconv.data.decoding import Conversion, is_named_like_an_image
from reconv.data.files import FilesSource
from reconv.data.limited_decoding import decode
from reconv.data.remote import RemoteStorage, is_url, parent_of, refuse_unusable
from reconv.data.shards import mapped
from reconv.data.skipped import Skipped, grouped, not_images, sort_out
from reconv.data.spec import ARCHIVES, TABLES, kind_of
from reconv.data.storage import FolderStorage, Storage, shown, stamp_of
from reconv.data.table_listing import image_paths, refuse_if_none_exists
from reconv.errors import DataError, ImageError
from reconv.files import digest_of
from reconv.params import PLAIN_COLUMNS, ColumnsParams

_PACKED = ".npy"
_CHUNK_FILES, _CHUNK_PIXELS = 250, 4000  # images: some hundred milliseconds of one core each


@dataclass(frozen=True)
class Read:
    """Some neighbours of the inputs."""

    images: NDArray[np.uint8]
    """(N, H, W, C); black where there is a problem."""
    problems: dict[int, str]
    """Position among them -> why it is no image that can be used."""


class Reader(Protocol):
    """Sent to each process that reads, once."""

    def read(self, part: Sequence[str] | range, to: Conversion) -> Read: ...


@dataclass(frozen=True)
class FileReader:
    storage: Storage

    def read(self, part: Sequence[str] | range, to: Conversion) -> Read:
        paths = [str(path) for path in part]
        images = np.zeros((len(paths), *to.shape), np.uint8)
        problems = {}
        self.storage.expect(paths)
        for at, path in enumerate(paths):
            try:
                images[at] = decode(self.storage.read(path), to)
            except ImageError as error:
                problems[at] = str(error)
        return Read(images, problems)


@dataclass(frozen=True)
class PackedReader:
    """Of pixels of the served size: uint8 (N, H, W, C) in an .npy file, such as data/prepared/test-images-000.npy."""

    path: Path

    def read(self, part: Sequence[str] | range, to: Conversion) -> Read:
        assert isinstance(part, range)
        images = self.array()
        if images.shape[1:] != to.shape:
            raise DataError(
                f"{self.path} holds images of {_times(images.shape[1:])}, the model takes {_times(to.shape)}: image "
                "files may have any size."
            )
        return Read(images[part.start : part.stop], {})

    def array(self) -> NDArray[np.uint8]:
        array: NDArray[np.uint8] = mapped(self.path, np.uint8)
        if array.ndim != 4:
            raise DataError(f"{self.path} is {_times(array.shape)}, must be images x height x width x channels.")
        return array


@dataclass(frozen=True)
class Inputs:
    """Images in their order."""

    reader: Reader
    paths: Sequence[str] | None
    """Of files; None of packed pixels."""
    count: int
    digest: str
    """Another one where other images stand, as far as that can be known without reading them."""
    chunk_images: int
    """So many are read and answered together."""
    skipped: tuple[SkippedFiles, ...] = ()

    def __len__(self) -> int:
        return self.count

    def part(self, chunk: int) -> Sequence[str] | range:
        rows = range(chunk * self.chunk_images, min((chunk + 1) * self.chunk_images, self.count))
        return rows if self.paths is None else self.paths[rows.start : rows.stop]

    def names(self, chunk: int) -> list[str]:
        part = self.part(chunk)
        return [f"[{row}]" for row in part] if isinstance(part, range) else list(part)

    @property
    def num_chunks(self) -> int:
        return -(-self.count // self.chunk_images)


def of_files(storage: Storage, paths: Sequence[str], where: str, skipped: Skipped | None = None) -> Inputs:
    digest = digest_of([where, paths, [storage.stamp(path) for path in paths]])
    return Inputs(FileReader(storage), paths, len(paths), digest, _CHUNK_FILES, grouped(skipped or {}))


def of_pixels(path: Path) -> Inputs:
    reader = PackedReader(path)
    digest = digest_of([str(path), stamp_of(path)])
    return Inputs(reader, None, len(reader.array()), digest, _CHUNK_PIXELS)


@contextmanager
def open_inputs(location: str, state: Path, columns: ColumnsParams = PLAIN_COLUMNS) -> Iterator[Inputs]:
    """`state` is the folder for copies of what lies behind URLs, `columns` says how a table names its images.

    Raises:
        DataError: there is nothing, or no image in it.
        ParamsError: a URL that cannot be used.
    """
    if not is_url(location) and not Path(location).expanduser().exists():
        raise DataError(f"{location} does not exist: name a folder, a table, an archive, an image or a URL.")
    kind, is_remote, path = kind_of(location), is_url(location), Path(location).expanduser()
    if path.is_file() and path.suffix.lower() == _PACKED:
        yield _not_empty(of_pixels(path.resolve()), location)
        return
    if _is_single_image(location):
        yield _single_image(location, state)
        return
    if is_remote:
        refuse_unusable(location, is_folder=kind == "folder")
    elif kind == "folder" and not path.is_dir():
        raise DataError(
            f"{location} is none of: a folder, a table ({', '.join(TABLES)}), an archive ({', '.join(ARCHIVES)}), an "
            f"image, packed pixels ({_PACKED})."
        )
    place = location if is_remote else str(path.resolve())
    source = FilesSource(kind, place, None, state, columns)
    with source.storage(is_fresh=True) as storage:
        skipped: dict[str, str] = {}
        if kind == "table":
            table = source.table()
            paths = image_paths(table, location, columns, source.root)
            remedy = "If that is the image, say --path '{}'."
            refuse_if_none_exists(storage, paths, table, location, columns, remedy)
        else:
            names, skipped = sort_out(storage.names())
            skipped |= not_images(storage, names)
            paths = [name for name in names if name not in skipped]
        yield _not_empty(of_files(storage, paths, place, skipped), location)


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _is_single_image(location: str) -> bool:
    """Return whether it is an image by its name or, if it is here, by its content."""
    path = Path(location).expanduser().resolve()
    if kind_of(location) != "folder" or path.is_dir():
        return False
    if is_url(location):
        return is_named_like_an_image(urlsplit(location).path)
    return not not_images(FolderStorage(path.parent), [shown(path.name)])


def _single_image(location: str, state: Path) -> Inputs:
    if is_url(location):
        refuse_unusable(location, is_folder=False)
        root, name = parent_of(location), PurePosixPath(urlsplit(location).path).name
        return of_files(RemoteStorage(root, state / "downloads", is_fresh=True), [name], root)
    path = Path(location).expanduser().resolve()
    return of_files(FolderStorage(path.parent), [path.name], str(path.parent))


def _not_empty(inputs: Inputs, location: str) -> Inputs:
    if not len(inputs):
        raise DataError(f"{location} holds no image.")
    return inputs
