"""What happened in a search, in order, as lines of JSON: enough to go on from, and nothing that is unpickled.

A line is written once and never changed, in files of limited length, so that what a line costs does not grow with the
search. Each file is replaced whole, as a store cannot be appended to.
"""

import json
import time
from collections.abc import Iterator
from typing import Any, TypeAlias

from reconv.errors import TrainingError
from reconv.files import AnyPath, write_text

Event: TypeAlias = dict[str, Any]
"""trial (its number) and one of: values, which were suggested for it; epoch and metrics; failed."""
_PREFIX = "journal-"
_MOST_BYTES = 1 << 16
_LAZY_SECONDS = 1.0  # of events that can be found out again


class Journal:
    """In `folder`, which may be in a store. `past` are the events of earlier sessions."""

    def __init__(self, folder: AnyPath) -> None:
        self.folder = folder
        files: list[AnyPath] = sorted(folder.glob(f"{_PREFIX}*.jsonl"), key=lambda path: path.name)
        self.past = [event for file in files for event in _events(file)]
        self._number = len(files)
        self._lines: list[str] = []
        self._num_bytes = 0
        self._written = time.monotonic()
        self._is_written = True

    def append(self, event: Event, is_lazy: bool = False) -> None:
        """On return it is kept, with all before it; if `is_lazy`, soon."""
        line = json.dumps(event) + "\n"
        self._lines.append(line)
        self._num_bytes += len(line)
        self._is_written = False
        if not is_lazy or time.monotonic() >= self._written + _LAZY_SECONDS:
            self.write()

    def write(self) -> None:
        """Whatever is not yet kept."""
        if self._is_written:
            return
        write_text(self.folder / f"{_PREFIX}{self._number:06d}.jsonl", "".join(self._lines))
        self._written, self._is_written = time.monotonic(), True
        if self._num_bytes > _MOST_BYTES:
            self._number, self._lines, self._num_bytes = self._number + 1, [], 0


def _events(file: AnyPath) -> Iterator[Event]:
    try:
        for line in file.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            if not (isinstance(event, dict) and isinstance(event.get("trial"), int)):
                raise ValueError(f"{line:.60} is no event of a trial")
            yield event
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{file} cannot be read ({error}), without which the search does not go on: delete the folder "
            f"{file.parent}, and it begins anew."
        ) from None
