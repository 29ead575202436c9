"""Decoded images by content, kept on disk: what was decoded once is not decoded again. Called by packing.

So an interrupted `prepare` goes on, and new images beside old ones cost their own time alone. It may be deleted.
"""

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import Self

import numpy as np
import PIL
from numpy.typing import NDArray

from reconv.data import decoding
from reconv.data.decoding import Conversion, decode
from reconv.data.storage import Storage
from reconv.errors import DataError, ImageError
from reconv.files import digest_of, read_json, sha256_of_file, write_json

_CHUNK_BYTES = 8 * 2**20  # of pixels that are written at once
_WINDOW = 20_000  # images whose names wait in memory
_SUM_BYTES = 32
_FEW_IMAGES, _PER_MESSAGE = 400, 16
Say = Callable[[int, int], None]
_Outcome = NDArray[np.uint8] | str
"""The pixels, or why there are none."""


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
            DataError: a file is no longer the one that was listed, or a decoding process died.
        """
        known = self._row_of.keys() | self.problems.keys()
        missing = {sum_: path for path, sum_ in zip(paths, sums, strict=True) if sum_ not in known}
        per_chunk = max(1, _CHUNK_BYTES // int(np.prod(self._shape)))
        pending, done = list(missing.items()), 0
        with _Decoders(storage, self._conversion, len(pending)) as decoders:
            for start in range(0, len(pending), _WINDOW):
                window = pending[start : start + _WINDOW]
                outcomes = decoders.decode(window)  # goes on while what there is already is written
                for at in range(0, len(window), per_chunk):
                    chunk = window[at : at + per_chunk]
                    self._append(chunk, islice(outcomes, len(chunk)))
                    done += len(chunk)
                    say(done, len(pending))

    def rows(self, sums: Sequence[str]) -> NDArray[np.int64]:
        """Where each of them is in `pixels`; all of them have to be."""
        return np.array([self._row_of[s] for s in sums], np.int64)

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """(rows, image_size, image_size, channels), mapped."""
        return np.memmap(self._pixels, np.uint8, mode="r", shape=(len(self._row_of), *self._shape))

    def _append(self, chunk: Sequence[tuple[str, str]], outcomes: Iterable[_Outcome]) -> None:
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


class _Decoders:
    """A process per core, since Pillow decodes JPEGs within the interpreter's lock: two threads are 1.3 times as fast
    as one, two processes twice. For a few images none: to start them takes as long as to decode those."""

    def __init__(self, storage: Storage, conversion: Conversion, num_images: int) -> None:
        self._arguments = storage, conversion
        self._pool: ProcessPoolExecutor | None = None
        if num_images >= _FEW_IMAGES:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(mp_context=spawn, initializer=_open, initargs=self._arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def decode(self, images: Sequence[tuple[str, str]]) -> Iterator[_Outcome]:
        """Of each sum and path."""
        if self._pool is None:
            yield from (_decode(*self._arguments, *item) for item in images)
            return
        try:
            yield from self._pool.map(_decode_here, images, chunksize=_PER_MESSAGE)
        except BrokenProcessPool:
            raise DataError(
                "a process that decoded images died, probably for want of memory: free some and run the same command."
            ) from None


_opened: tuple[Storage, Conversion]
"""Of a decoding process."""


def _open(storage: Storage, conversion: Conversion) -> None:
    global _opened  # noqa: PLW0603
    _opened = storage, conversion
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for images for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _decode_here(item: tuple[str, str]) -> _Outcome:
    return _decode(*_opened, *item)


def _decode(storage: Storage, conversion: Conversion, expected_sum: str, path: str) -> _Outcome:
    try:
        content = storage.read(path)
        if hashlib.sha256(content).hexdigest() != expected_sum:
            raise DataError(f"{path} changed since it was listed: run `dvc repro --force fetch`.")
        return decode(content, conversion)
    except ImageError as error:
        return str(error)
