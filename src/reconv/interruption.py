"""Ctrl-C, whenever it comes: one line and exit code 130, never a traceback.

While modules are imported it ends the process at once. In a body of work it raises KeyboardInterrupt, so that runs are
closed and clusters are left. A second one ends the process at once, and so does one that comes when all is done.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
"""The exit code."""
_STDERR = 2
_SAME_SECONDS = 0.5  # a terminal sends Ctrl-C to all processes, and some of them pass it on


class _Phase:
    """Where this process is. `first` is when it was interrupted."""

    is_working = False
    first: float | None = None
    terminal = _STDERR
    process = os.getpid()


def answer_ctrl_c() -> None:
    """Take over Ctrl-C in a process that `reconv` or a stage script started; do nothing in other programs.

    Called when the package is imported, so that it comes first: a command's other imports take up to a second.
    """
    script = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path()
    if script.name != "reconv" and script.parent.name != "pipeline":
        return
    with suppress(ValueError):  # not in the main thread
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as in a shell's "&"
            signal.signal(signal.SIGINT, signal.SIG_DFL if _is_child() else _answer)


@contextmanager
def interruptible(terminal: int = _STDERR) -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt in this block, even if a library turns it into another error.

    The answer to a second one is written to what the file descriptor `terminal` refers to now.
    """
    _Phase.terminal, _Phase.is_working = os.dup(terminal), True
    try:
        yield
    except Exception:
        if _Phase.first is None:
            raise
        raise KeyboardInterrupt from None  # compiled modules make an ImportError of it, MLflow's store its own
    finally:
        _Phase.is_working = False
        terminal, _Phase.terminal = _Phase.terminal, _STDERR
        os.close(terminal)


def raise_once(_number: int, _frame: FrameType | None) -> None:
    """Handle a signal as the first Ctrl-C, and ignore it if there was one."""
    if _Phase.first is None:
        _Phase.first = time.monotonic()
        raise KeyboardInterrupt


def _answer(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _Phase.process:
        os._exit(INTERRUPTED)  # a forked child
    if _Phase.is_working and _Phase.first is None:
        raise_once(number, frame)
    if _Phase.first is None:
        _end("interrupted. Run the same command again to resume.")
    if time.monotonic() - _Phase.first > _SAME_SECONDS:
        _end("interrupted again: stopped at once. Run the same command again to resume.")


def _end(text: str) -> NoReturn:
    with suppress(OSError):  # the terminal may be gone
        os.write(_Phase.terminal, f"\nreconv: {text}\n".encode())
    with suppress(Exception):  # half imported
        for child in sys.modules["psutil"].Process().children(recursive=True):
            with suppress(Exception):
                child.kill()
    os._exit(INTERRUPTED)


def _is_child() -> bool:
    """Return whether this is a process of multiprocessing, which has the arguments of its parent."""
    multiprocessing = sys.modules.get("multiprocessing")
    return multiprocessing is not None and multiprocessing.parent_process() is not None
