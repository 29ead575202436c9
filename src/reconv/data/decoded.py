"""Decoded images by content, kept on disk: what was decoded once is not decoded again. Called by packing.

So an interrupted `prepare` goes on, and new images beside old ones cost their own time alone. It may be deleted.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from reconv.data import decoding
from reconv.data.decoding import Conversion, decode
from reconv.data.storage import Storage
from reconv.errors import DataError, ImageError
from reconv.files import digest_of, read_json, sha256_of_file, write_json

_CHUNK_BYTES = 32 * 2**20  # of pixels in memory at once
_SUM_BYTES = 32
Say = Callable[[int, int], None]


class DecodedImages:
    """Rows of one size in a file, each with the SHA-256 of what it was decoded from.

    Pixels are on the disk before the sums that name them, so that a torn end is never taken for an image.
    """

    def __init__(self, folder: Path, conversion: Conversion) -> None:
        code = sha256_of_file(Path(decoding.__file__))
        key = digest_of({"conversion": asdict(conversion), "code": code, "Pillow": PIL.__version__})
        self._conversion = conversion
        self._shape = (conversion.image_size, conversion.image_size, conversion.channels)
        self._pixels, self._sums, self._bad = (folder / key[:16] / name for name in ("pixels", "sums", "bad.json"))
        self._pixels.parent.mkdir(parents=True, exist_ok=True)
        for path in (self._pixels, self._sums):
            path.touch()
        self._row_of = {sum_: row for row, sum_ in enumerate(self._complete_sums())}
        self.problems: dict[str, str] = read_json(self._bad) if self._bad.exists() else {}
        """SHA-256 -> why it cannot be decoded."""

    def add(self, storage: Storage, paths: Sequence[str], sums: Sequence[str], say: Say) -> None:
        """Decode those whose content is not here yet; `say` is told how many of how many.

        Raises:
            DataError: a file is no longer the one that was listed.
        """
        known = self._row_of.keys() | self.problems.keys()
        missing = {sum_: path for path, sum_ in zip(paths, sums, strict=True) if sum_ not in known}
        per_chunk = max(1, _CHUNK_BYTES // int(np.prod(self._shape)))
        pending, done = list(missing.items()), 0
        with ThreadPoolExecutor() as pool:  # Pillow decodes outside the interpreter's lock
            for start in range(0, len(pending), per_chunk):
                chunk = pending[start : start + per_chunk]
                self._append(chunk, pool.map(lambda item: self._decode(storage, *item), chunk))
                done += len(chunk)
                say(done, len(pending))

    def rows(self, sums: Sequence[str]) -> NDArray[np.int64]:
        """Where each of them is in `pixels`; all of them have to be."""
        return np.array([self._row_of[s] for s in sums], np.int64)

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """(rows, image_size, image_size, channels), mapped."""
        return np.memmap(self._pixels, np.uint8, mode="r", shape=(len(self._row_of), *self._shape))

    def _decode(self, storage: Storage, expected_sum: str, path: str) -> NDArray[np.uint8] | str:
        """The pixels, or why there are none."""
        try:
            content = storage.read(path)
            if hashlib.sha256(content).hexdigest() != expected_sum:
                raise DataError(f"{path} changed since it was listed: run `dvc repro --force fetch`.")
            return decode(content, self._conversion)
        except ImageError as error:
            return str(error)

    def _append(self, chunk: Sequence[tuple[str, str]], outcomes: Iterator[NDArray[np.uint8] | str]) -> None:
        sums = []
        with self._pixels.open("ab") as pixels:
            for (sum_, _), outcome in zip(chunk, outcomes, strict=True):
                if isinstance(outcome, str):
                    self.problems[sum_] = outcome
                else:
                    pixels.write(outcome.tobytes())
                    sums.append(sum_)
            pixels.flush()
            os.fsync(pixels.fileno())
        with self._sums.open("ab") as file:
            file.write(bytes.fromhex("".join(sums)))
        self._row_of |= {sum_: len(self._row_of) + index for index, sum_ in enumerate(sums)}
        write_json(self._bad, self.problems)

    def _complete_sums(self) -> list[str]:
        """Those whose pixels are all there; what an interruption left beyond them is cut off."""
        row_bytes = int(np.prod(self._shape))
        content = self._sums.read_bytes()
        count = min(len(content) // _SUM_BYTES, self._pixels.stat().st_size // row_bytes)
        os.truncate(self._pixels, count * row_bytes)
        os.truncate(self._sums, count * _SUM_BYTES)
        return [content[i : i + _SUM_BYTES].hex() for i in range(0, count * _SUM_BYTES, _SUM_BYTES)]
