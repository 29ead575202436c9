"""What a submission leaves in the cluster's storage besides outputs: the dvc.lock it began with, and the one it has.

Written by the job, read by whoever brings its outputs home, also when the cluster is gone.
"""

from pathlib import Path

from reconv.files import AnyPath, opened_store, write_bytes, write_text
from reconv.submission.locked import LOCK
from reconv.submission.outputs import reaching


class JobRecord:
    """Of one job. `job` is its id in Ray."""

    def __init__(self, storage: str, job: str) -> None:
        self.job = job
        self._storage = storage
        folder = opened_store(storage) / "jobs" / job
        self.begun_with: AnyPath = folder / "begun-with.lock"
        self.lock: AnyPath = folder / "dvc.lock"
        self._succeeded = folder / "succeeded"

    def exists(self) -> bool:
        with reaching(self._storage):
            return self.lock.exists()

    def succeeded(self) -> bool:
        with reaching(self._storage):
            return bool(self._succeeded.exists())

    def begin(self) -> None:
        """With this folder's dvc.lock."""
        with reaching(self._storage):
            for path in (self.begun_with, self.lock):
                write_bytes(path, LOCK.read_bytes() if LOCK.exists() else b"")

    def write_lock(self, content: bytes) -> None:
        """Whose outputs are in the storage."""
        with reaching(self._storage):
            write_bytes(self.lock, content)

    def end(self) -> None:
        with reaching(self._storage):
            write_text(self._succeeded, "")

    def copied_to(self, folder: Path) -> tuple[Path, Path]:
        """Copies of the dvc.lock that it began with and of the one that it has, so that both are of one moment."""
        copies = folder / "begun-with.lock", folder / "dvc.lock"
        with reaching(self._storage):
            for source, copy in zip((self.begun_with, self.lock), copies, strict=True):
                copy.write_bytes(source.read_bytes())
        return copies


def job_id(name: str, number: int) -> str:
    """Of a submission's first, second, ... job: Ray takes an id once."""
    return name if number == 1 else f"{name}-{number}"
