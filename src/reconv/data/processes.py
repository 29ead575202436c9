"""Run a function in other processes: many tasks on all cores, or single calls within limits.

Called by inspecting, decoders and limited_decoding. Processes, since Pillow decodes JPEGs within the interpreter's
lock: two threads are 1.3 times as fast as one, two processes twice. Each imports the function's module and little more.
"""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from threading import BoundedSemaphore, Thread
from typing import Any, Generic, ParamSpec, TypeVar

from reconv.errors import DataError, ImageError

_AHEAD = 4  # tasks that wait for each process
_DIED = "a process that read images died, probably because memory ran out: free some, then run the same command again."
Arguments = ParamSpec("Arguments")
Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")


def spread(
    function: Callable[[Shared, Task], Result], shared: Shared, tasks: Iterable[Task]
) -> Generator[Result, None, None]:
    """function(shared, task) of each task, in their order. `shared` is sent to each process once.

    Raises:
        DataError: a process died; besides what the function raises.
    """
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(mp_context=spawn, initializer=_begin, initargs=(function, shared))
    try:
        waiting: deque[Future[Result]] = deque()
        for task in tasks:
            waiting.append(pool.submit(_call, task))
            if len(waiting) >= _AHEAD * (os.cpu_count() or 1):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise DataError(_DIED) from None
    finally:
        pool.shutdown(cancel_futures=True)


_function: Callable[[Any, Any], Any]
_shared: Any


def _begin(function: Callable[[Any, Any], Any], shared: Any) -> None:
    global _function, _shared
    _function, _shared = function, shared
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _call(task: Any) -> Any:
    return _function(_shared, task)


@dataclass(frozen=True)
class Limits:
    """Limits of one call: processor time (so that load on the machine does not matter) and memory."""

    seconds: float
    memory_bytes: int


class LimitError(ImageError):
    """A call exceeded its limits. The text follows the name of the file: "needs more than 30 s of processor time"."""


class Limited(Generic[Arguments, Result]):
    """A function that runs in processes which the kernel ends when a call exceeds its limits. Threads may share it.

    The kernel does it because no Python handler runs while C code holds the interpreter's lock, and because the kernel
    needs no watching parent. The first call starts a process (0.1 s), and an ended one is replaced; each further call
    takes 0.03 ms plus 1 ms per megabyte.
    """

    def __init__(self, function: Callable[Arguments, Result], limits: Limits) -> None:
        self._function, self._limits = function, limits
        self._idle: list[_Process] = []
        self._free = BoundedSemaphore(os.cpu_count() or 1)

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        """
        Raises:
            LimitError: it needs more time or memory, or crashes the process.
            DataError: something else ended the process. The function's own errors are passed on.
        """
        with self._free:
            process = self._take()
            try:
                has_returned, result = process.call(args, kwargs)
            except BaseException as error:
                process.end()
                if isinstance(error, LimitError):
                    self._idle.append(self._new())  # started early: it imports what it needs while nobody waits
                raise
            self._idle.append(process)
        if has_returned:
            answer: Result = result
            return answer
        raise result

    def _take(self) -> "_Process":
        with suppress(IndexError):
            while (process := self._idle.pop()).owner != os.getpid():
                pass  # it belongs to this process's parent
            return process
        return self._new()

    def _new(self) -> "_Process":
        return _Process(self._function, self._limits)


class _Process:
    def __init__(self, function: Callable[..., Any], limits: Limits) -> None:
        self.owner = os.getpid()
        self._limits = limits
        self._connection, theirs = multiprocessing.Pipe()
        with theirs:
            program = f"from {__name__} import _serve; _serve({theirs.fileno()})"
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-W", "ignore", "-c", program],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                process_group=0,  # a terminal's Ctrl-C is for this process, which decides
            )
        self.end = weakref.finalize(self, _end, self._process, self._connection)
        with suppress(OSError):  # it has died already, which `call` reports
            self._connection.send((function, limits))

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
        """Return whether the function returned, and what it returned or raised."""
        try:
            self._connection.send((args, kwargs))
            has_returned, result = self._connection.recv()
        except (EOFError, OSError):
            raise self._reason(-self._process.wait()) from None
        if isinstance(result, MemoryError):
            raise LimitError(f"needs more than {self._limits.memory_bytes / 2**30:.3g} GiB of memory")
        return has_returned, result

    def _reason(self, ended_by: int) -> Exception:
        if ended_by == signal.SIGPROF:
            return LimitError(f"needs more than {self._limits.seconds:g} s of processor time")
        if ended_by in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL):
            return LimitError(f"crashes the library that reads it ({signal.Signals(ended_by).name})")
        return DataError(_DIED)


def _end(process: "subprocess.Popen[bytes]", connection: "Connection[Any, Any]") -> None:
    connection.close()
    process.kill()
    process.wait()


def _serve(descriptor: int) -> None:
    """Answer calls until the other side is gone."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # a process inherits what its parent ignores or blocks
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    connection: Connection[Any, Any] = Connection(descriptor)
    with suppress(EOFError, OSError), connection:
        function, limits = connection.recv()
        while True:
            args, kwargs = connection.recv()
            with _limited(limits):
                answer = _answer(function, args, kwargs)
            connection.send(answer)


@contextmanager
def _limited(limits: Limits) -> Iterator[None]:
    """Limit time, and memory beyond what the process has now; only Linux reports that, so elsewhere memory is free."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(FileNotFoundError):
        has_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = [limit for limit in before if limit != resource.RLIM_INFINITY]  # as `ulimit -v` sets it
        resource.setrlimit(resource.RLIMIT_AS, (min([has_bytes + limits.memory_bytes, *most]), before[1]))
    signal.setitimer(signal.ITIMER_PROF, limits.seconds)  # and then SIGPROF, which ends a process
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)


def _answer(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
    try:
        return True, function(*args, **kwargs)
    except Exception as error:
        # Decoding turns any exception of a parser into an ImageError, even a MemoryError.
        return False, MemoryError() if isinstance(error.__context__, MemoryError) else error
