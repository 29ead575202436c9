"""Records of one stage on their way to MLflow: a file that only grows, and a mark of how much of it has been delivered.

The file holds one JSON object a line, in the order in which the records were made. The operating system has a line
before `append` returns, so that a killed process loses none, and the disk before it is delivered, so that what MLflow
has is known here even after a power failure. Only one process has a journal open: the system frees the lock of one that
dies, and its children do not have it, as they are spawned.
"""

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from reconv.files import lock_within

Line = dict[str, Any]
_READ_BYTES = 4 << 20


class Journal:
    """The one in `folder`, which is made if it is missing.

    Raises:
        BlockingIOError: another process had it open for all of `wait_seconds`.
    """

    def __init__(self, folder: Path, wait_seconds: float = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._mark = folder / "delivered"
        self._writing = threading.Lock()
        self._file = os.open(folder / "records.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            lock_within(self._file, wait_seconds)
        except BlockingIOError:
            os.close(self._file)
            raise
        self._size = self._cut_torn_line()
        self._delivered = self._read_mark()

    def append(self, line: Line) -> None:
        """All of it or nothing. Raises OSError: the disk is full."""
        rest = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        with self._writing:
            try:
                size = self._size + len(rest)
                while rest:
                    rest = rest[os.write(self._file, rest) :]
            except OSError:
                os.ftruncate(self._file, self._size)
                raise
            self._size = size

    def keep_file(self, path: Path) -> str:
        """Copy a file beside the records, as the next run of a stage may replace it first; its name there."""
        kept = self.folder / "files" / str(time.time_ns()) / path.name
        kept.parent.mkdir(parents=True)
        shutil.copyfile(path, kept)
        return str(kept.relative_to(self.folder))

    def all(self) -> Iterator[Line]:
        """From the first on, delivered or not."""
        offset = 0
        while offset < self._size:
            lines, offset = self._read(offset)
            yield from lines

    def waiting(self) -> tuple[list[Line], int]:
        """The next lines that are not delivered, about 4 MB of them, and what to mark when they are."""
        return self._read(self._delivered)

    def is_delivered(self) -> bool:
        return self._delivered >= self._size

    def num_waiting(self) -> int:
        count, offset = 0, self._delivered
        while offset < self._size:
            lines, offset = self._read(offset)
            count += len(lines)
        return count

    def flush(self) -> None:
        os.fdatasync(self._file)

    def mark(self, offset: int) -> None:
        """Everything before `offset` is delivered. Not flushed: an old mark means that some is delivered twice."""
        temporary = self._mark.with_suffix(".tmp")
        temporary.write_text(str(offset))
        temporary.replace(self._mark)
        self._delivered = offset

    def close(self) -> None:
        os.close(self._file)

    def remove(self) -> None:
        """Close and delete it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()

    def _read(self, offset: int) -> tuple[list[Line], int]:
        """Lines from `offset` on, at least one if there is any, and where the next begins; without damaged ones."""
        text, end = b"", offset
        while end < self._size and b"\n" not in text:
            text += os.pread(self._file, min(_READ_BYTES, self._size - end), end)
            end = offset + len(text)
        text = text[: text.rfind(b"\n") + 1]
        lines = []
        for raw in text.splitlines():
            with suppress(ValueError):
                lines.append(json.loads(raw))
        return [line for line in lines if isinstance(line, dict)], offset + len(text)

    def _cut_torn_line(self) -> int:
        """A process was killed while it wrote: its call had not returned. The size without that line."""
        size = end = os.fstat(self._file).st_size
        while end:
            start = max(0, end - _READ_BYTES)
            newline = os.pread(self._file, end - start, start).rfind(b"\n")
            end = start + newline + 1
            if newline >= 0:
                break
        if end < size:
            os.ftruncate(self._file, end)
        return end

    def _read_mark(self) -> int:
        try:
            offset = int(self._mark.read_text())
        except (OSError, ValueError):
            return 0
        return offset if 0 <= offset <= self._size else 0
