"""A function over many tasks in a process per core. Called by inspecting and decoders.

Processes, since Pillow decodes JPEGs within the interpreter's lock: two threads are 1.3 times as fast as one, two
processes twice. Each imports the function's module and little more.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from threading import Thread
from typing import Any, TypeVar

from reconv.errors import DataError

_AHEAD = 4  # tasks that wait for each process
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
        raise DataError(
            "a process that read images died, probably for want of memory: free some and run the same command."
        ) from None
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
