"""The thread that brings records to MLflow while the stage goes on, and again later what it could not bring."""

import threading
from collections.abc import Callable, Set
from contextlib import suppress
from typing import TYPE_CHECKING

from reconv.masking import masked
from reconv.tracking.delivery import Delivery
from reconv.tracking.journal import Journal
from reconv.tracking.local_store import records_of
from reconv.tracking.remedies import cause_of, reason_of
from reconv.tracking.server import check_answers

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_LOCK_SECONDS = 20
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0
_COLLECT_SECONDS = 1.0  # so that what a trial reports goes in few requests: each costs MLflow's client some 5 ms
_END_SECONDS, _END_WITHOUT_SERVER_SECONDS = 30.0, 5.0
_WRITERS = 4


class Courier:
    """Delivers what earlier stages left, then `journal` as it grows."""

    def __init__(
        self, client: "MlflowClient", uri: str, run_id: str, unfinished: Set[str], say: Callable[[str], None]
    ) -> None:
        """`unfinished`: runs that a stage may go on with, whose journals say what was recorded in them.

        Raises:
            BlockingIOError: another process writes the records of this run.
        """
        self._client = client
        self._uri = uri
        self._unfinished = unfinished
        self._say = say
        self._said: set[str] = set()
        self._is_lost = False
        self._keep = True
        self._waiting = 0
        self._wake, self._closing, self._over = threading.Event(), threading.Event(), threading.Event()
        self.journal = Journal(records_of(uri) / run_id, _LOCK_SECONDS)
        self._thread = threading.Thread(target=self._work, name="records", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There is something in the journal."""
        self._wake.set()

    def say_once(self, kind: str, message: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            self._say(message)

    def close(self, finished: bool) -> None:
        """Wait for all to be delivered, but not long; say what is left. `finished`: no stage goes on with this run."""
        self._keep = not finished
        self._closing.set()
        self._wake.set()
        waited = 0.0
        while self._thread.is_alive() and waited < (_END_WITHOUT_SERVER_SECONDS if self._is_lost else _END_SECONDS):
            self._thread.join(0.1)
            waited += 0.1
        self._over.set()
        self._thread.join(0.5)
        waiting = self._waiting
        if self._thread.is_alive():  # in a request that does not end
            waiting += self.journal.num_waiting()
        if waiting:
            self._say(f"{waiting:,} records wait for MLflow at {masked(self._uri)}; the next stage delivers them.")

    def _work(self) -> None:
        for folder in sorted(self.journal.folder.parent.iterdir(), key=lambda path: path.stat().st_mtime):
            if folder != self.journal.folder:
                with suppress(OSError):  # another process has it open, or has just delivered it
                    left = Journal(folder)
                    self._deliver(left, self._delivery(left))
                    self._end(left, folder.name in self._unfinished)
        delivery = self._delivery(self.journal)
        while not self._closing.is_set():
            self._wake.wait()
            self._wake.clear()
            self._deliver(self.journal, delivery)
            self._closing.wait(_COLLECT_SECONDS)
        self._deliver(self.journal, delivery)
        self._end(self.journal, self._keep)

    def _end(self, journal: Journal, keep: bool) -> None:
        self._waiting += journal.num_waiting()
        if journal.is_delivered() and not keep:
            journal.remove()
        else:
            journal.close()

    def _delivery(self, journal: Journal) -> Delivery:
        writers = 1 if self._uri.startswith("sqlite:") else _WRITERS
        return Delivery(self._client, journal.folder.name, journal.folder, writers, self._refused)

    def _deliver(self, journal: Journal, delivery: Delivery) -> None:
        """All of it, however long it takes, unless this process is over."""
        pause = _FIRST_PAUSE_SECONDS
        while not journal.is_delivered() and not self._over.is_set():
            lines, end = journal.waiting()
            try:
                journal.flush()
                if self._is_lost:
                    check_answers(self._uri)
                delivery.deliver(lines)
                journal.mark(end)
                self._is_lost, pause = False, _FIRST_PAUSE_SECONDS
            except Exception as error:  # whatever the store's client raises
                self._is_lost = True
                self.say_once(
                    "lost",
                    f"MLflow at {masked(self._uri)} takes no records ({cause_of(self._uri, error)}); they are kept "
                    "and delivered later, the stage goes on.",
                )
                self._pause(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _pause(self, seconds: float) -> None:
        if self._closing.is_set():
            self._over.wait(min(seconds, 1.0))
        else:
            self._closing.wait(seconds)

    def _reason(self, error: Exception) -> str:
        return masked(reason_of(error), self._uri)

    def _refused(self, error: Exception) -> None:
        self.say_once("refused", f"MLflow refuses a record ({self._reason(error)}); the stage goes on without it.")
