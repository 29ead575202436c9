"""An observer that writes a log file for each trial or training: where it ran, each epoch, what became of it."""

import shutil
import time
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any

from reconv.files import slug
from reconv.places import logs
from reconv.training.observer import History


class TrainingLogs:
    """Files logs/STAGE/NAME.log. A stage that starts anew deletes those of before; one that goes on adds to them.

    `keep` is given the key and the file of what ended.
    """

    def __init__(self, stage: str, keep: Callable[[str, Path], None]) -> None:
        self.folder = logs() / stage
        self._keep = keep
        self._files: dict[str, Path] = {}

    def resumed(self, history: History, ended: Set[str]) -> None:
        if not any(history.values()):
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    def started(self, key: str, name: str, values: Mapping[str, Any]) -> None:
        self._files[key] = self.folder / f"{slug(name)}.log"
        self._write(key, "started", values)

    def begins(self, key: str, after_epoch: int, worker: str) -> None:
        self._write(key, f"goes on after epoch {after_epoch} on {worker}" if after_epoch else f"begins on {worker}")

    def noticed(self, key: str, what: str) -> None:
        self._write(key, what)

    def note(self, text: str) -> None:
        pass

    def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        self._write(key, f"epoch {epoch}", metrics)

    def finished(self, key: str, status: str) -> None:
        self._write(key, status)
        self._keep(key, self._files[key])

    def _write(self, key: str, what: str, values: Mapping[str, Any] | None = None) -> None:
        shown = "".join(f"  {k} {v:.5g}" if isinstance(v, float) else f"  {k} {v}" for k, v in (values or {}).items())
        with self._files[key].open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {what}{shown}\n")
