"""Decoded images by content, kept on disk: what was decoded once is not decoded again. Called by packing.

So an interrupted `prepare` goes on, and new images beside old ones cost their own time alone. It may be deleted.
"""

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL
from numpy.typing import NDArray

from reconv.data import decoding, file_checks, fingerprints, value_range
from reconv.data.decoders import RECORD, Chunk, DecodeChunks, Sums, Target
from reconv.data.decoding import heic_plugin
from reconv.data.fingerprints import Fingerprints
from reconv.data.storage import Storage
from reconv.files import digest_of, read_json, sha256_of_file, write_json, writing

_CHUNK_IMAGES, _CHUNK_BYTES = 64, 2**20
_SAVED_BYTES = 32 * 2**20  # of pixels, after which what has been decoded is made safe
Say = Callable[[int, int], None]


class DecodedImages:
    """Rows of one size in a file, and beside it a record of each: the SHA-256 of what it was decoded from and its
    fingerprint.

    Pixels are on the disk before the records that name them, so that a torn end is never taken for an image. The row
    of a file that cannot be decoded stays empty.
    """

    def __init__(self, folder: Path, to: Target) -> None:
        modules = (file_checks, value_range, decoding, fingerprints)
        code = [sha256_of_file(Path(str(module.__file__))) for module in modules]
        libraries = [PIL.__version__, heic_plugin()]
        key = digest_of({type(to).__name__: asdict(to), "code": code, "libraries": libraries})
        self._to = to
        self._pixels, self._records, self._bad = (
            folder / key[:16] / name for name in ("pixels", "records", "bad.json")
        )
        self._pixels.parent.mkdir(parents=True, exist_ok=True)
        for path in (self._pixels, self._records):
            path.touch()
        self.problems: dict[str, str] = read_json(self._bad) if self._bad.exists() else {}
        """SHA-256 -> why it cannot be decoded."""
        self._load()

    def add(self, storage: Storage, paths: "pd.Series[str]", sums: Sums, decode: DecodeChunks, say: Say) -> None:
        """Decode those whose content is not here yet; `say` is told how many of how many.

        Raises:
            DataError: a file is no longer the one that was listed, or a decoding process died.
        """
        _, first = np.unique(sums, return_index=True)
        bad = np.array([bytes.fromhex(one) for one in self.problems], "S32")
        missing = np.sort(first[~np.isin(sums[first], self._sums) & ~np.isin(sums[first], bad)])
        row_bytes = int(np.prod(self._to.shape))
        size = max(1, min(_CHUNK_IMAGES, _CHUNK_BYTES // row_bytes))
        row = len(self._sums)
        chunks = (
            Chunk(row + at, paths.iloc[missing[at : at + size]].tolist(), sums[missing[at : at + size]])
            for at in range(0, len(missing), size)
        )
        done = 0
        unsaved: list[NDArray[np.void]] = []
        with writing(self._records), self._pixels.open("r+b") as pixels, self._records.open("ab") as records:

            def save() -> None:
                os.fsync(pixels.fileno())
                records.write(np.concatenate([np.empty(0, RECORD), *unsaved]).tobytes())
                records.flush()
                write_json(self._bad, self.problems)
                unsaved.clear()

            try:
                with closing(decode(storage, self._to, chunks, len(missing), self._pixels)) as outcomes:
                    for outcome in outcomes:
                        unsaved.append(outcome.records)
                        self.problems |= outcome.problems
                        done += len(outcome.records)
                        say(done, len(missing))
                        if len(unsaved) * size * row_bytes >= _SAVED_BYTES:
                            save()
            finally:
                if unsaved:
                    save()
        self._load()

    def rows(self, sums: Sums) -> NDArray[np.int64]:
        """Where each of them is in `pixels`; all of them have to be."""
        found: NDArray[np.int64] = self._order[np.searchsorted(self._sums, sums, sorter=self._order)]
        return found

    def fingerprints(self, rows: NDArray[np.int64]) -> Fingerprints:
        found: Fingerprints = self._mapped["fingerprint"][rows]
        return found

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """(rows, *shape of the target), mapped."""
        return _mapped(self._pixels, np.dtype(np.uint8), (len(self._sums), *self._to.shape))

    def _load(self) -> None:
        """The records whose pixels are all there; what an interruption left beyond them is cut off."""
        row_bytes = int(np.prod(self._to.shape))
        complete = min(self._records.stat().st_size // RECORD.itemsize, self._pixels.stat().st_size // row_bytes)
        os.truncate(self._pixels, complete * row_bytes)
        os.truncate(self._records, complete * RECORD.itemsize)
        self._mapped = _mapped(self._records, RECORD, (complete,))
        self._sums: Sums = self._mapped["sha256"].copy()
        self._order = np.argsort(self._sums)


def _mapped(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """An empty file cannot be mapped."""
    return np.memmap(path, dtype, mode="r", shape=shape) if shape[0] else np.empty(shape, dtype)
