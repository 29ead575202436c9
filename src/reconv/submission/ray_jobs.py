"""Ray's jobs, through the address of a cluster's dashboard: one is sent, followed, known again by its id.

Ray's own client reads the variables RAY_API_SERVER_ADDRESS, RAY_AUTH_MODE, RAY_AUTH_TOKEN and RAY_AUTH_TOKEN_PATH.
"""

import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reconv.errors import SubmissionError, UnavailableError

_ANSWER_SECONDS = 30
_AWAY_SECONDS = 600
_POLL_SECONDS = 1.0
_POLLING_SHARE = 0.1  # of the time, at most: each answer is the whole log
_NOT_READY_SECONDS = 60
_TALKATIVE = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk")
RUNNING = ("PENDING", "RUNNING")
_ENTRYPOINT = re.compile(r"^Running entrypoint for job .*\n", re.MULTILINE)  # before it, Ray speaks of itself

Say = Callable[[str], None]


class RayJobs:
    """The jobs of a cluster.

    Raises:
        UnavailableError: no address is given, nothing answers there, or it refuses the token.
    """

    def __init__(self) -> None:
        self.address = os.environ.get("RAY_API_SERVER_ADDRESS", "")
        if not self.address.startswith(("http://", "https://")):
            raise UnavailableError(
                f"RAY_API_SERVER_ADDRESS is {self.address!r}, must be the address of a Ray cluster's dashboard, such "
                "as http://127.0.0.1:8265 (`ssh -L 8265:127.0.0.1:8265 HEAD` brings it here) or https://ray.example.com."
            )
        self._client = self._connected()

    def _connected(self) -> Any:
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient

        class Client(JobSubmissionClient):  # type: ignore[misc]
            def _do_request(self, *args: Any, **kwargs: Any) -> Any:
                """Without a limit a request waits for ever for whoever went away."""
                return super()._do_request(*args, timeout=_ANSWER_SECONDS, **kwargs)

        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            return Client(self.address)
        except AuthenticationError as error:
            raise self._refused(error) from None
        except (OSError, RuntimeError, KeyError) as error:
            raise UnavailableError(
                f"no Ray cluster answers at {self.address} ({_first_line(error)}): start it, or correct "
                "RAY_API_SERVER_ADDRESS."
            ) from None

    def status(self, job: str) -> str | None:
        """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED; None for a job that the cluster does not know.

        Raises:
            UnavailableError: the cluster does not answer.
        """
        try:
            return self._status(job)
        except (OSError, RuntimeError) as error:
            raise UnavailableError(
                f"the Ray cluster at {self.address} does not answer ({_first_line(error)}): try again later."
            ) from None

    def is_running(self, job: str) -> bool:
        return self.status(job) in RUNNING

    def submit(self, job: str, entrypoint: str, archive: Path, metadata: Mapping[str, str]) -> None:
        """Start it in a folder with what is in `archive`; one that has this id already is left as it is.

        Raises:
            SubmissionError: the cluster refuses it.
        """
        deadline = time.monotonic() + _NOT_READY_SECONDS
        while True:
            try:
                self._client.submit_job(
                    entrypoint=entrypoint,
                    submission_id=job,
                    runtime_env={"working_dir": str(archive)},
                    metadata=dict(metadata),
                )
                return
            except (OSError, RuntimeError, ValueError) as error:
                if self.status(job) is not None:
                    return
                if "try again later" not in str(error) or time.monotonic() > deadline:  # a head that has just started
                    raise SubmissionError(
                        f"the Ray cluster at {self.address} does not take the job: {_first_line(error)}"
                    ) from None
            time.sleep(_POLL_SECONDS)

    def follow(self, job: str, show: Say, say: Say) -> str | None:
        """Show the job's output as it comes until the job ends; its last status, None if the cluster forgot it.

        Raises:
            UnavailableError: the cluster does not answer for ten minutes.
        """
        num_shown = 0
        away_since: float | None = None
        while True:
            began = time.monotonic()
            try:
                status, output = self._look(job)
            except (OSError, RuntimeError) as error:
                if away_since is None:
                    away_since = began
                    say(f"the cluster does not answer ({type(error).__name__}): trying again for ten minutes")
                if began - away_since > _AWAY_SECONDS:
                    raise UnavailableError(
                        f"the Ray cluster at {self.address} did not answer for ten minutes. The job may go on there: "
                        "the same command joins it again."
                    ) from None
                time.sleep(_POLL_SECONDS)
                continue
            if away_since is not None:
                away_since = None
                say("the cluster answers again")
            ended = status not in RUNNING
            new = output[num_shown : None if ended else output.rfind("\n") + 1]
            if new:
                show(new.removesuffix("\n"))
                num_shown += len(new)
            if ended:
                return status
            time.sleep(max(_POLL_SECONDS, (time.monotonic() - began) / _POLLING_SHARE))

    def reason(self, job: str) -> str:
        """Why it failed, in a line, as far as Ray knows."""
        message = str(self._client.get_job_info(job).message or "no reason given")
        return message.strip().splitlines()[0].split(", last available logs")[0]

    def _look(self, job: str) -> tuple[str | None, str]:
        """Its status, and what it printed up to then or later."""
        status = self._status(job)
        if status is None:
            return None, ""
        try:
            log = str(self._client.get_job_logs(job))
        except RuntimeError:
            if status in RUNNING:
                raise
            log = ""  # gone with its node
        begin = _ENTRYPOINT.search(log)
        return status, log[begin.end() :] if begin else ""

    def _status(self, job: str) -> str | None:
        from ray.exceptions import AuthenticationError

        try:
            return str(self._client.get_job_info(job).status.value)
        except AuthenticationError as error:
            raise self._refused(error) from None
        except RuntimeError as error:
            if "status code 404" in str(error):
                return None
            raise

    def _refused(self, error: Exception) -> UnavailableError:
        return UnavailableError(
            f"the Ray cluster at {self.address} refuses this machine ({_first_line(error)}): set RAY_AUTH_MODE=token, "
            "and RAY_AUTH_TOKEN_PATH to a copy of the token that its nodes have."
        )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
