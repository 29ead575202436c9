"""Send the pipeline to a Ray cluster as a job, follow it, bring its outputs home. Called by pipeline/cluster/submit.py.

The same command does whatever is left to do: files and arguments give the submission its name, by which a job that runs
is joined again, one that succeeded is only brought home, and one that failed goes on in another job.
"""

import shlex
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from reconv.errors import ParamsError, SubmissionError
from reconv.files import read_json, write_json
from reconv.params import ResourcesParams, load_params
from reconv.places import STATE
from reconv.submission.homecoming import bring_home, cache_folder, is_up_to_date
from reconv.submission.locked import LOCK, locked_outputs
from reconv.submission.outputs import Outputs
from reconv.submission.ray_jobs import RUNNING, RayJobs, Say
from reconv.submission.records import JobRecord, job_id
from reconv.submission.working_tree import WorkingTree, submission_name
from reconv.tracking.opening import git_commit
from reconv.tracking.server import tracking_uri

_SENT = STATE / "submitted.json"
_NAMES = 10


class Submission:
    """Of this folder's files, to the cluster that RAY_API_SERVER_ADDRESS names.

    Raises:
        ParamsError: there is no storage that both sides reach.
        SubmissionError: the folder is no working copy of git.
    """

    def __init__(self, arguments: Sequence[str], say: Say, show: Say, occasion: str = "") -> None:
        """`occasion` makes it another submission where files and arguments are the same, and what they are about is
        not."""
        self.arguments = [*arguments]
        self._resources = load_params().resources
        self._storage = _storage(self._resources)
        self._sums = WorkingTree().sums()
        self.name = submission_name(self._sums, [*arguments, *([occasion] if occasion else [])])
        self._say = say
        self._show = show

    def run(self) -> bool:
        """Whether the job succeeded and its outputs are here.

        Raises:
            ReconvError: it cannot be sent, followed or brought home.
        """
        if self._is_here():
            self._say("everything is up to date here: there is nothing to send")
            return True
        jobs = RayJobs()
        self._refuse_another(jobs)
        number, status = self._last_job(jobs)
        if status in RUNNING:
            self._say(f"{job_id(self.name, number)} runs already: joining it")
        else:
            if number:
                self._say(f"{job_id(self.name, number)} {(status or 'is gone').lower()}: going on in another job")
                self._bring_home(number)
            number += 1
            self._send(jobs, job_id(self.name, number))
        return self._finish(jobs, number)

    def _is_here(self) -> bool:
        """If not at once, then from the storage: the cluster may be gone since."""
        if is_up_to_date(self.arguments):
            return True
        number = self._last_recorded()
        if not number or not self._record(number).succeeded():
            return False
        self._bring_home(number)
        return is_up_to_date(self.arguments)

    def _finish(self, jobs: RayJobs, number: int) -> bool:
        job = job_id(self.name, number)
        write_json(_SENT, {"name": self.name, "job": job, "sums": self._sums})
        self._say(f"Ctrl-C leaves it running, the same command joins it again, `ray job stop {job}` ends it")
        status = jobs.follow(job, self._show, self._say)
        if status == "SUCCEEDED" and not self._record(number).succeeded():
            raise SubmissionError(
                f"{job} succeeded, but what it left is not in {self._storage}: resources.storage is another place "
                "there, or was emptied. Name one that both sides reach."
            )
        self._bring_home(number)
        if status != "SUCCEEDED":
            why = "the cluster knows it no more" if status is None else jobs.reason(job)
            self._say(f"{job} did not succeed ({why}). The same command goes on where it was.")
        return status == "SUCCEEDED"

    @cached_property
    def _outputs(self) -> Outputs:
        return Outputs(self._storage, cache_folder())

    def _record(self, number: int) -> JobRecord:
        return JobRecord(self._storage, job_id(self.name, number))

    def _last_recorded(self) -> int:
        """Number of the last job that left something in the storage; 0 for none."""
        return next(number for number in count() if not self._record(number + 1).exists())

    def _last_job(self, jobs: RayJobs) -> tuple[int, str | None]:
        """The last one that the cluster knows or that left something in the storage, and its status in the cluster."""
        last: tuple[int, str | None] = 0, None
        for number in count(1):
            status = jobs.status(job_id(self.name, number))
            if status is None and not self._record(number).exists():
                break
            last = number, status
        return last

    def _send(self, jobs: RayJobs, job: str) -> None:
        tree = WorkingTree()
        if tree.left_out:
            self._say(f"not sent, as git does not know it: {_shortened(tree.left_out)}")
        sent = self._outputs.push(locked_outputs(LOCK))
        if sent:
            self._say(f"{sent:,} bytes of finished stages are in {self._storage} now")
        with TemporaryDirectory(prefix="reconv-") as folder:
            archive = Path(folder) / "working-tree.zip"
            tree.pack(archive)
            jobs.submit(job, self._entrypoint(job), archive, {"reconv.commit": git_commit()})
        self._say(f"{job} sent to {jobs.address}")

    def _entrypoint(self, job: str) -> str:
        """A shell's command, in the folder of what was sent."""
        words = ["python", "pipeline/cluster/job.py", self.name, job, git_commit(), self._tracking(), *self.arguments]
        return f'PYTHONPATH="$PWD/src" {shlex.join(words)}'

    def _tracking(self) -> str:
        """MLflow's server as this machine knows it, without its password; empty if a cluster would not reach it."""
        uri = urlsplit(tracking_uri(self._resources))
        if uri.scheme not in ("http", "https") or uri.hostname in (None, "localhost", "127.0.0.1", "::1"):
            return ""
        return uri._replace(netloc=uri.netloc.rpartition("@")[2], query="", fragment="").geturl()

    def _bring_home(self, number: int) -> None:
        record = self._record(number)
        if not record.exists():
            return
        try:
            stages = bring_home(record, self._outputs)
        except SubmissionError as error:
            raise SubmissionError(f"{record.job} cannot be brought home: {error}") from None
        if stages:
            self._say(f"brought home: {', '.join(stages)}")

    def _refuse_another(self, jobs: RayJobs) -> None:
        """Lest a change of a file while a job runs starts a second one beside it, unmeant."""
        if not _SENT.exists():
            return
        sent = read_json(_SENT)
        if sent["name"] == self.name or not jobs.is_running(sent["job"]):
            return
        raise SubmissionError(
            f"{sent['job']}, which was sent from here, still runs, and this is no longer the same: "
            f"{_changes(sent['sums'], self._sums)}.\nUndo that (`git stash`) to join it again, or end it: "
            f"`ray job stop {sent['job']}`."
        )


def _storage(resources: ResourcesParams) -> str:
    storage = resources.storage
    if storage is None or not ("://" in storage or Path(storage).is_absolute()):
        raise ParamsError(
            f"resources.storage is {storage or 'null'}, must be a URL (s3://bucket/project) or a whole path that this "
            "machine and the cluster's nodes reach: outputs travel through it. Set it in params.yaml."
        )
    return storage


def _changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    changed = sorted(path for path in {*before, *now} if before.get(path) != now.get(path))
    return f"{_shortened(changed)} changed" if changed else "the arguments are others"


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMES]) + (" …" if len(names) > _NAMES else "")
