"""What the job is: `dvc repro` in a folder of its own on the node that Ray gives it, usually the head.

Finished stages go to the storage as they finish, so that a lost node costs no more than the running one.
"""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from reconv.environment import complete_environment
from reconv.errors import ReconvError
from reconv.files import write_text
from reconv.masking import masked
from reconv.params import Params, load_params
from reconv.submission.homecoming import DVC
from reconv.submission.locked import LOCK, locked_outputs
from reconv.submission.outputs import Outputs
from reconv.submission.ray_jobs import Say
from reconv.submission.records import JobRecord
from reconv.tracking.server import tracking_uri

_POLL_SECONDS = 1.0
_CACHE = Path(".dvc/cache")
_JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def run_job(name: str, job: str, arguments: Sequence[str], say: Say) -> int:
    """Run the files of the current folder; the exit code of `dvc repro`, 1 if its outputs do not reach the storage.

    `name` is the submission's, whose jobs share a folder: a later one goes on where an earlier one was.

    Raises:
        ReconvError: the storage cannot be used, or params.yaml.
    """
    folder = _folder(name)
    params = load_params()
    assert params.resources.storage is not None  # or the job was not sent
    shutil.copytree(Path.cwd(), folder, dirs_exist_ok=True)
    os.chdir(folder)
    complete_environment()
    write_text(Path(".dvc/config.local"), "[core]\n    no_scm = true\n")
    record = JobRecord(params.resources.storage, job)
    record.begin()
    stays = _records_stay(params, folder, say)
    outputs = Outputs(params.resources.storage, _CACHE)
    outputs.fetch(locked_outputs(LOCK), allow_missing=True)
    if LOCK.exists():
        subprocess.run([*DVC, "checkout", "--quiet", "--force", "--allow-missing"], check=True)
    code = _repro(arguments, _Publisher(record, outputs, say))
    if code == 0:
        record.end()
        if not stays:
            shutil.rmtree(folder)
    return code


def _folder(name: str) -> Path:
    """On the volume that the nodes share, if RECONV_SHARED names one."""
    shared = os.environ.get("RECONV_SHARED")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reconv"
    return (Path(shared) if shared else cache) / "jobs" / name


def _records_stay(params: Params, folder: Path, say: Say) -> bool:
    """Whether MLflow's records are in the job's folder, for want of a server."""
    uri = tracking_uri(params.resources)
    if uri.startswith(("http://", "https://")):
        say(f"runs go to MLflow at {masked(uri)}")
        return False
    say(
        f"no MLflow server is named: the runs and the registered model stay on {socket.gethostname()}, in {folder}.\n"
        "Set MLFLOW_TRACKING_URI or resources.tracking_uri to one that the cluster reaches, if they are wanted."
    )
    return True


def _repro(arguments: Sequence[str], publisher: "_Publisher") -> int:
    environment = _environment()
    wanted = environment.get("RECONV_WAIT_FOR", "")
    if wanted:
        _scale(shlex.split(wanted), environment)
    try:
        with subprocess.Popen([*DVC, "repro", *arguments], env=environment) as repro:
            while repro.poll() is None:
                time.sleep(_POLL_SECONDS)
                publisher.try_to_publish()
            publisher.publish()
            return repro.returncode
    finally:
        if wanted:
            _scale([], environment)


def _environment() -> dict[str, str]:
    """As of someone who gives the command on this node, with this folder's code.

    Without Ray's description of this job: the stages' workers would all unpack what was sent, and need none of it.
    """
    inherited = {name: value for name, value in os.environ.items() if name != _JOB_CONFIG}
    return {
        **inherited,
        "PYTHONPATH": str(Path("src").absolute()),
    }


def _scale(words: Sequence[str], environment: dict[str, str]) -> None:
    """Ask for what the stages shall find, or take that back."""
    subprocess.run([sys.executable, "pipeline/cluster/scale.py", *words], env=environment, check=True)


class _Publisher:
    """Sends the outputs that a new dvc.lock names, then the file itself."""

    def __init__(self, record: JobRecord, outputs: Outputs, say: Say) -> None:
        self._record = record
        self._outputs = outputs
        self._say = say
        self._seen = self._published = _content(LOCK)
        self._failed = False

    def try_to_publish(self) -> None:
        """If the file did not change for a moment, as DVC does not write it at once."""
        seen, self._seen = self._seen, _content(LOCK)
        if seen != self._seen or seen == self._published:
            return
        try:
            self.publish()
            self._failed = False
        except ReconvError as error:
            if not self._failed:
                self._say(f"finished stages cannot be sent at present: {error}")
            self._failed = True

    def publish(self) -> None:
        """Raises ReconvError if they do not get there."""
        content = _content(LOCK)
        if content != self._published:
            self._outputs.push(locked_outputs(LOCK))
            self._record.write_lock(content)
            self._published = content


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
