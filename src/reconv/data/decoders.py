"""Files -> pixels in a file. Called by decoded; decoding processes import this and little more."""

import hashlib
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reconv.data.decoding import Conversion, Extremes
from reconv.data.fingerprints import FINGERPRINT, fingerprints
from reconv.data.limited_decoding import decode
from reconv.data.processes import spread
from reconv.data.storage import Storage
from reconv.errors import DataError, ImageError
from reconv.files import write_at

RECORD = np.dtype([("sha256", "S32"), ("fingerprint", FINGERPRINT)])
Sums = NDArray[np.bytes_]
"""(N,) SHA-256 sums, 32 bytes each."""
Target = Conversion | Extremes

_FEW_IMAGES = 400
_LIST_AGAIN = "run `dvc repro --force fetch`"


@dataclass(frozen=True)
class Chunk:
    """Files whose pixels stand side by side."""

    row: int
    """Of the first, in the file of pixels."""
    paths: Sequence[str]
    sums: Sums
    """What their content has to be."""


@dataclass(frozen=True)
class Outcome:
    records: NDArray[np.void]
    """(files of the chunk,) of RECORD; all 0 of those with a problem."""
    problems: dict[str, str]
    """SHA-256 in hexadecimal -> why it cannot be decoded."""


class DecodeChunks(Protocol):
    def __call__(
        self, storage: Storage, to: Target, chunks: Iterable[Chunk], num_images: int, pixels: Path
    ) -> Generator[Outcome, None, None]:
        """Write the pixels of each chunk into its rows of the file `pixels`; the outcomes in the order of the chunks.

        Raises:
            DataError: a file is no longer the one that was listed, or a process died.
        """


def decode_locally(
    storage: Storage, to: Target, chunks: Iterable[Chunk], num_images: int, pixels: Path
) -> Generator[Outcome, None, None]:
    """In a process per core; few images in this one: to start processes takes as long as to decode those."""
    shared = storage, to, pixels
    if num_images < _FEW_IMAGES:
        return (_decode_into(shared, chunk) for chunk in chunks)
    return spread(_decode_into, shared, chunks)


def _decode_into(shared: tuple[Storage, Target, Path], chunk: Chunk) -> Outcome:
    storage, to, pixels = shared
    images, outcome = decode_chunk(storage, to, chunk)
    write_rows(pixels, chunk.row, images)
    return outcome


def write_rows(pixels: Path, row: int, images: NDArray[np.uint8]) -> None:
    """From `row` on."""
    write_at(pixels, row * images[0].nbytes, images)


def _read(storage: Storage, path: str, sha256: bytes) -> bytes:
    try:
        content = storage.read(path)
    except ImageError as error:
        raise DataError(f"{path} {error}, but could be read when it was listed: {_LIST_AGAIN}.") from None
    if hashlib.sha256(content).digest() != sha256:
        raise DataError(f"{path} changed since it was listed: {_LIST_AGAIN}.")
    return content


def decode_chunk(storage: Storage, to: Target, chunk: Chunk) -> tuple[NDArray[np.uint8], Outcome]:
    """(files, *to.shape), 0 where a file cannot be decoded."""
    images = np.zeros((len(chunk.paths), *to.shape), np.uint8)
    records = np.zeros(len(chunk.paths), RECORD)
    problems = {}
    storage.expect(chunk.paths)
    for i, (path, expected) in enumerate(zip(chunk.paths, chunk.sums, strict=True)):
        sha256 = bytes(expected).ljust(32, b"\0")  # numpy cuts zeros at the end
        content = _read(storage, path, sha256)
        try:
            images[i] = decode(content, to)
            records["sha256"][i] = expected
        except ImageError as error:
            problems[sha256.hex()] = str(error)
    good = records["sha256"] != b""
    records["fingerprint"][good] = fingerprints(images[good])
    return images, Outcome(records, problems)
