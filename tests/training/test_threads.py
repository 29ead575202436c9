"""Ray ends after the threads that use it: otherwise it ends the process, and what was to be written is not."""

import subprocess
import sys

import pytest

# Ray Data waits 2 s for its executor's thread, which takes longer here, as it does on a machine with much to do.
SCRIPT = """
import threading, time
from contextlib import closing
from pathlib import Path
from reconv.params import THIS_MACHINE
from reconv.training.cluster import ray_session
from reconv.training.ray_data import rows_of
from ray.data._internal.execution.streaming_executor import StreamingExecutor

real = StreamingExecutor._scheduling_loop_step
is_closing = threading.Event()

def slow(self, topology):
    end = time.monotonic() + (6 if is_closing.is_set() else 0)
    while time.monotonic() < end:
        ray.put(1)
    return real(self, topology)

StreamingExecutor._scheduling_loop_step = slow
with ray_session(THIS_MACHINE):
    import ray.data
    rows = [{"refused": "", "n": n} for n in range(40)]
    data = ray.data.from_items(rows, override_num_blocks=40).map(lambda row: time.sleep(0.2) or row)
    with closing(rows_of(data)) as found:
        next(found)
        is_closing.set()
        time.sleep(0.5)
Path("written").write_text("the last file")
print([thread.name for thread in threading.enumerate() if "Executor" in thread.name])
"""


@pytest.mark.ray
@pytest.mark.slow
def test_ray_is_left_when_no_thread_uses_it(folder):
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=180, check=False)

    assert (folder / "written").exists(), done.stderr
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
