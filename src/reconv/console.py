"""What a person sees of a stage: lines that stay, and one status line that is overwritten.

Libraries print into logs/STAGE.log instead. On an output that is no terminal the status is a plain line now and then.
Only printable text reaches the terminal: names of classes and files cannot control it.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from reconv.masking import masked
from reconv.places import logs
from reconv.training.observer import History
from reconv.untrusted import printable, printable_lines

_PLAIN_INTERVAL_SECONDS = 30.0
_TERMINAL_INTERVAL_SECONDS = 0.2
_CLEAR_LINE = "\r\033[K"


class Console:
    """Prints to `stream`, each line headed by the stage's name."""

    def __init__(self, stage: str, model: str | None, stream: TextIO) -> None:
        self._head = f"{f'[{stage}]':<11}" + (f"{model:<13}" if model else "")
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._last_status = 0.0 if self._is_terminal else time.monotonic()
        self._has_status = False

    def say(self, text: str) -> None:
        """A line that stays."""
        self._clear()
        shown = printable_lines(masked(text)).rstrip("\n").replace("\n", "\n" + " " * 11)
        print(self._head + shown, file=self._stream, flush=True)

    def print(self, text: str) -> None:
        """Lines without the stage's name."""
        self._clear()
        print(printable_lines(masked(text)), file=self._stream, flush=True)

    def status(self, text: str) -> None:
        """The present state, shown if the last one is old enough."""
        now = time.monotonic()
        interval = _TERMINAL_INTERVAL_SECONDS if self._is_terminal else _PLAIN_INTERVAL_SECONDS
        if now - self._last_status < interval:
            return
        self._last_status = now
        text = printable(masked(text))
        if not self._is_terminal:
            print(self._head + text, file=self._stream, flush=True)
            return
        width = os.get_terminal_size(self._stream.fileno()).columns or 80
        self._stream.write(_CLEAR_LINE + (self._head + text)[: width - 1])
        self._stream.flush()
        self._has_status = True

    def _clear(self) -> None:
        if self._has_status:
            self._stream.write(_CLEAR_LINE)
            self._has_status = False


@contextmanager
def quiet_libraries(log: str) -> Iterator[TextIO]:
    """Yields the real output, while file descriptors 1 and 2 lead to logs/`log`.log; RECONV_VERBOSE=1 leaves them."""
    if os.environ.get("RECONV_VERBOSE") == "1":
        yield sys.stdout
        return
    log_path(log).parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    terminal = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding)
    saved = os.dup(1), os.dup(2)
    with log_path(log).open("a", encoding="utf-8") as file:
        file.write(f"\n--- {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        file.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield terminal
        finally:
            with suppress(OSError):  # the log's disk may be full
                sys.stdout.flush()
                sys.stderr.flush()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            terminal.close()
            for descriptor in saved:
                os.close(descriptor)


def log_path(log: str) -> Path:
    return logs() / f"{log}.log"


class Progress:
    """An observer that keeps the status line: how much of `total_epochs` is done, and how long the rest will take."""

    def __init__(self, console: Console, total_epochs: int) -> None:
        self.console = console
        self.total_epochs = total_epochs
        self.began: float | None = None
        """When the first epoch started: what came before it says nothing about the time left."""
        self.epochs: dict[str, int] = {}
        self.names: dict[str, str] = {}
        self.ended: set[str] = set()
        self._begun: set[str] = set()
        self.done_before = 0
        """Epochs that an interrupted stage had done: they say nothing about the speed of this one."""

    def started(self, key: str, name: str, values: Mapping[str, Any]) -> None:
        self.names[key] = name
        self.console.status(self.text())

    def begins(self, key: str, after_epoch: int, worker: str) -> None:
        if key in self._begun:
            self.console.say(f"{self.names[key]} lost its worker and goes on after epoch {after_epoch} on {worker}")
        self._begun.add(key)

    def noticed(self, key: str, what: str) -> None:
        self.console.say(f"{self.names[key]}: {what}")

    def note(self, text: str) -> None:
        self.console.say(text)

    def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        if self.began is None:
            self.began = time.monotonic() - metrics["speed/epoch_seconds"]
        self.epochs[key] = epoch
        self.on_metrics(key, metrics)
        self.console.status(self.text())

    def finished(self, key: str, status: str) -> None:
        self.ended.add(key)
        self.console.status(self.text())

    def resumed(self, history: History, ended: Set[str]) -> None:
        for key, epochs in history.items():
            self.names[key] = "an earlier trial"
            for epoch, metrics in epochs.items():
                self.epochs[key] = epoch
                self.on_metrics(key, metrics)
        self.ended |= ended
        self.done_before = self.done
        if self.done:
            self.console.say(f"going on after {self.done} of {self.total_epochs} epochs")

    def on_metrics(self, key: str, metrics: Mapping[str, float]) -> None:
        raise NotImplementedError

    def text(self) -> str:
        raise NotImplementedError

    @property
    def done(self) -> int:
        return sum(self.epochs.values())

    def time_left(self) -> str:
        new = self.done - self.done_before
        if new <= 0 or self.began is None:
            return "starting"
        seconds = (time.monotonic() - self.began) / new * max(0, self.total_epochs - self.done)
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} left"


class SearchProgress(Progress):
    best = 0.0
    best_name = ""

    def on_metrics(self, key: str, metrics: Mapping[str, float]) -> None:
        if metrics["validation/accuracy"] > self.best:
            self.best, self.best_name = metrics["validation/accuracy"], self.names.get(key, "a trial")

    def text(self) -> str:
        running = len(self.names) - len(self.ended)
        best = f" · best validation {self.best:.1%} ({self.best_name})" if self.best else ""
        return (
            f"{len(self.ended)} trials done · {running} running · {self.done}/{self.total_epochs} epochs{best} · "
            f"{self.time_left()}"
        )


class StudyProgress(Progress):
    """Without the time left: epochs of a tenth of the images and of other networks take anything from 0.1 to 30 s."""

    def __init__(self, console: Console, num_trainings: int, total_epochs: int) -> None:
        super().__init__(console, total_epochs)
        self._num_trainings = num_trainings

    def on_metrics(self, key: str, metrics: Mapping[str, float]) -> None:
        pass

    def text(self) -> str:
        return f"{len(self.ended)} of {self._num_trainings} trainings · {self.done} of {self.total_epochs} epochs"


class TrainProgress(Progress):
    def __init__(self, console: Console, num_seeds: int, max_epochs: int) -> None:
        super().__init__(console, num_seeds * max_epochs)
        self._num_seeds = num_seeds
        self._max_epochs = max_epochs
        self._speeds: dict[str, float] = {}
        self._accuracy = 0.0

    def on_metrics(self, key: str, metrics: Mapping[str, float]) -> None:
        self._speeds[key] = metrics["speed/images_per_second"]
        self._accuracy = metrics["train/accuracy"]

    def text(self) -> str:
        speed = sum(speed for key, speed in self._speeds.items() if key not in self.ended)
        epoch = max(self.epochs.values(), default=0)
        parts = [f"{self._num_seeds} seeds · epoch {epoch}/{self._max_epochs}"]
        if self._speeds:
            parts += [f"{speed:,.0f} images/s", f"training accuracy {self._accuracy:.1%}"]
        return " · ".join([*parts, self.time_left()])
