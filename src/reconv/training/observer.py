"""Who watches trainings and trials as they go: the progress line and MLflow. Only the driver process calls it."""

from collections.abc import Mapping, Set
from typing import Any, Protocol

History = Mapping[str, Mapping[int, Mapping[str, float]]]
"""Key of a training -> epoch -> metrics."""


class Observer(Protocol):
    def started(self, key: str, name: str, values: Mapping[str, Any]) -> None:
        """A training named `name` starts, or goes on; `key` stays the same over interruptions."""

    def begins(self, key: str, after_epoch: int, worker: str) -> None:
        """A worker (its machine and process) has its first epoch since `started`, and began after `after_epoch`: 0 if
        anew. Called before that epoch is reported."""

    def noticed(self, key: str, what: str) -> None:
        """Something went wrong with it that it gets over by itself, or fails of. Called after `started`."""

    def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """It finished `epoch` (from 1). A resumed training may report an epoch again, with the same metrics."""

    def note(self, text: str) -> None:
        """What a person should know of all of them."""

    def finished(self, key: str, status: str) -> None:
        """It ended: `finished`, `stopped` (by the search), `diverged` or `failed`."""

    def resumed(self, history: History, ended: Set[str]) -> None:
        """Called first. The trainings that an interrupted stage goes on with and what each reported, and which of them
        ended; any other that it had started is forgotten. Empty for a stage that starts anew."""


class Observers:
    """Several observers as one."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def started(self, key: str, name: str, values: Mapping[str, Any]) -> None:
        for observer in self._observers:
            observer.started(key, name, values)

    def begins(self, key: str, after_epoch: int, worker: str) -> None:
        for observer in self._observers:
            observer.begins(key, after_epoch, worker)

    def noticed(self, key: str, what: str) -> None:
        for observer in self._observers:
            observer.noticed(key, what)

    def note(self, text: str) -> None:
        for observer in self._observers:
            observer.note(text)

    def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        for observer in self._observers:
            observer.epoch(key, epoch, metrics)

    def finished(self, key: str, status: str) -> None:
        for observer in self._observers:
            observer.finished(key, status)

    def resumed(self, history: History, ended: Set[str]) -> None:
        for observer in self._observers:
            observer.resumed(history, ended)
