"""The threads of this process that use Ray, which have to end before Ray does. Called by `cluster`.

If a thread calls Ray during its shutdown, Ray ends the whole process without a message, and what was not written yet is
lost. Ray Data leaves such threads behind: it waits 2 s for its executor, and not at all for the threads
that fetch blocks.
"""

import os
import sys
import threading
import time
from pathlib import Path

_LOOK_SECONDS = 0.02
# ray.shutdown() ends and joins these itself.
_ENDED_BY_RAY = ("ray_", "PythonGCThread")


def wait_for_ray_threads(seconds: float) -> list[str]:
    """Stop Ray Data's executors and wait for every thread that uses Ray; return the names of those left after
    `seconds`."""
    deadline = time.monotonic() + seconds
    for thread in threading.enumerate():
        stop = getattr(thread, "shutdown", None)
        if stop and type(thread).__module__.startswith("ray.data."):  # an executor is its own thread
            stop(force=True)
    while (left := _ray_threads()) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    return left


def _ray_threads() -> list[str]:
    frames = sys._current_frames()
    return [
        thread.name
        for thread in threading.enumerate()
        if thread is not threading.current_thread()
        and not thread.name.startswith(_ENDED_BY_RAY)
        and _is_in_ray(frames.get(thread.ident or 0))
    ]


def _is_in_ray(frame: object) -> bool:
    """Return whether Ray's code is on the thread's stack and still makes progress."""
    import ray

    package = f"{Path(ray.__file__).parent}{os.sep}"
    files = []
    while frame is not None:
        files.append(frame.f_code.co_filename)  # type: ignore[attr-defined]
        frame = frame.f_back  # type: ignore[attr-defined]
    return any(file.startswith(package) for file in files) and not _is_parked(files)


def _is_parked(files: list[str]) -> bool:
    """Return whether this is Ray Data's prefetcher, which at times misses its end and then waits forever without using
    Ray."""
    return files[0] == threading.__file__ and files[1].endswith("block_batching/util.py")
