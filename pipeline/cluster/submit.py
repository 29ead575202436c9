"""The pipeline as a job of the Ray cluster behind RAY_API_SERVER_ADDRESS, its outputs brought home.

Called by `make submit`. Takes the arguments of `dvc repro`. The same command joins a job that runs, and goes on where
one failed.
"""

import sys

from reconv.console import Console
from reconv.errors import BusyError, ReconvError
from reconv.submission.submit import Submission

_BUSY, _INTERRUPTED = 75, 130


def main() -> int:
    """Return the exit code: 0 if the job succeeded and all of it is here, 75 (try again) if `dvc` is running here."""
    console = Console("submit", None, sys.stdout)
    try:
        return 0 if Submission(sys.argv[1:], console.say, console.print).run() else 1
    except ReconvError as error:
        console.say(f"stopped: {error}")
        return _BUSY if isinstance(error, BusyError) else 1
    except KeyboardInterrupt:
        console.say("interrupted. A job that was sent goes on; the same command joins it again.")
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
