"""Images in files of at most about 1 GB each, mapped: what is not used takes no memory, however many there are.

N images, M of them asked for.
"""

import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reconv.errors import DataError
from reconv.files import atomic

Images = NDArray[np.uint8]
_SHARD_BYTES = 10**9
_CHUNK_BYTES = 2**20  # of images that are in memory at once; to write 8 MB at once takes nine times as long


class Indexable(Protocol):
    """Images by their positions: an array, mapped or not."""

    def __getitem__(self, rows: NDArray[np.int64], /) -> Images: ...


def write_images(
    folder: Path, name: str, images: Indexable, rows: NDArray[np.int64], shape: tuple[int, int, int]
) -> None:
    """`images[rows]`, each of `shape`, as NAME-images-000.npy and so on, without a copy of all in memory."""
    image_bytes = int(np.prod(shape))
    per_shard, at_once = max(1, _SHARD_BYTES // image_bytes), max(1, _CHUNK_BYTES // image_bytes)
    for shard, start in enumerate(range(0, len(rows), per_shard)):
        of_shard = rows[start : start + per_shard]
        with atomic(folder / f"{name}-images-{shard:03d}.npy") as temporary, temporary.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(of_shard), *shape)}
            np.lib.format.write_array_header_1_0(file, header)
            for at in range(0, len(of_shard), at_once):
                file.write(np.ascontiguousarray(images[of_shard[at : at + at_once]]).data)


def map_images(array_of: Callable[[str], Images], name: str, count: int, shape: tuple[int, int, int]) -> "PackedImages":
    """What `write_images` wrote, by the names of its files: `count` images, each of `shape`.

    Raises:
        DataError: it is not there.
    """
    arrays: list[Images] = []
    while (missing := count - sum(map(len, arrays))) > 0:
        file = f"{name}-images-{len(arrays):03d}.npy"
        array = array_of(file)
        if array.shape[1:] != shape or not 0 < len(array) <= missing:
            raise DataError(
                f"{file} is {array.shape}, must be up to {(missing, *shape)}: run `dvc repro --force prepare`."
            )
        arrays.append(array)
    return PackedImages(arrays)


def mapped(path: Path, dtype: type[np.generic]) -> NDArray[Any]:
    """An array of a file. Raises DataError if it is missing, damaged or of another type."""
    try:
        # "c": private pages if written to, so that torch takes the array as it is; it never is.
        array: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path} cannot be mapped ({error}): run `dvc repro --force prepare`.") from None
    if array.dtype != dtype:
        raise DataError(f"{path} is {array.dtype}, must be {np.dtype(dtype)}: run `dvc repro --force prepare`.")
    return array


@dataclass(frozen=True)
class PackedImages:
    """(N, height, width, channels) uint8 in several arrays, one after the other; none has less than one image."""

    arrays: Sequence[Images]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        height, width, channels = self.arrays[0].shape[1:]
        return len(self), height, width, channels

    def __len__(self) -> int:
        return sum(map(len, self.arrays))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Images:
        return np.asarray(self[:], dtype, copy=copy)

    def __getitem__(self, chosen: slice | NDArray[np.int64]) -> Images:
        """(M, height, width, channels): a view where all are of one array and side by side, else a copy."""
        if isinstance(chosen, slice) and chosen.step in (None, 1):
            parts = self.between(*chosen.indices(len(self))[:2]).arrays
            return parts[0] if len(parts) == 1 else np.concatenate(parts)
        rows = np.arange(len(self))[chosen]
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        start = 0
        for array in self.arrays:
            here = (rows >= start) & (rows < start + len(array))
            out[here] = array[rows[here] - start]
            start += len(array)
        return out

    def expect_random_order(self) -> None:
        """Read from the disk what is asked for and nothing around it: of more images than fit into memory, the rest
        would be gone again before it is used. An epoch under such a limit takes a quarter of the time."""
        for array in self.arrays:
            base: Any = array
            while isinstance(base, np.ndarray):
                base = base.base
            if isinstance(base, mmap.mmap):
                base.madvise(mmap.MADV_RANDOM)

    def between(self, start: int, stop: int) -> "PackedImages":
        """Those from `start` to before `stop`, as views."""
        views, at = [], 0
        for array in self.arrays:
            view = array[max(0, start - at) : max(0, stop - at)]
            views += [view] if len(view) else []
            at += len(array)
        return PackedImages(views or [self.arrays[0][:0]])


AnyImages = Images | PackedImages
