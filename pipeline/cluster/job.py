"""What submit.py has a Ray cluster run, in the folder of what it sent.

Called as job.py NAME JOB COMMIT TRACKING_URI [arguments of dvc repro]. The node's own MLFLOW_TRACKING_URI goes before
the one that it is given.
"""

import os
import sys

from reconv.console import Console
from reconv.errors import ReconvError
from reconv.submission.on_cluster import run_job


def main() -> int:
    """Exit code: that of `dvc repro`, or 1."""
    name, job, commit, uri, *arguments = sys.argv[1:]
    os.environ["RECONV_COMMIT"] = commit
    if uri:
        os.environ.setdefault("MLFLOW_TRACKING_URI", uri)
    console = Console("job", None, sys.stdout)
    try:
        return run_job(name, job, arguments, console.say)
    except ReconvError as error:
        console.say(f"stopped: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
