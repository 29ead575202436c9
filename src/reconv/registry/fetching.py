"""The files of a registered version -> this machine, checked against what was registered before anything reads them."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from reconv.errors import DataError, RegistryError, UnavailableError
from reconv.files import refusal, sha256_of_file
from reconv.places import STATE
from reconv.registry.checksums import CHECKSUMS, FILES_SHA256, Checksums, check_files, checksums_of
from reconv.registry.version import WEIGHTS_SHA256, Version
from reconv.serving.bundle import WEIGHTS
from reconv.tracking.remedies import explained

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

MODEL_ARTIFACT, BUNDLE_ARTIFACT = "model", "artifacts/classifier"
OPPONENT_ARTIFACT = "opponent"
"""The other model's classifier, among the artifacts of the run that registers."""
_CACHE = STATE / "models"
_UNFINISHED = "."
Check = Callable[[Path], object]
"""Raises if it is not what was registered."""


class Fetcher:
    """Downloads files of the registered model `name`. Raises RegistryError if they cannot be fetched or differ from
    what was registered."""

    def __init__(self, client: "MlflowClient", name: str) -> None:
        self._client = client
        self._name = name

    def bundle(self, version: Version) -> Path:
        """Return its folder on this machine, fetched once and checked every time."""
        checksums = self._checksums(version)
        check = _of_weights(version) if checksums is None else _of(checksums.under(BUNDLE_ARTIFACT))
        return self._fetched(version, "classifier", f"{self._place(version)}/{BUNDLE_ARTIFACT}", check)

    def opponent(self, version: Version) -> Path:
        checksums = self._checksums(version)
        check = _of_any if checksums is None else _of(checksums.opponent)
        return self._fetched(version, "opponent", f"runs:/{version.run_id}/{OPPONENT_ARTIFACT}", check)

    def model(self, version: Version, into: Path) -> Path:
        """Fetch all that MLflow loads and runs into a new folder in `into`: only files that were registered."""
        checksums = self._checksums(version)
        check = _of_any if checksums is None else _of(checksums.model)
        fetched = self._download(version, "model", self._place(version), into)
        self._checked(version, fetched, check)
        return fetched

    def _place(self, version: Version) -> str:
        return str(self._client.get_model_version_download_uri(self._name, str(version.number))).rstrip("/")

    def _checksums(self, version: Version) -> Checksums | None:
        """Return None for a version that was registered without checksums."""
        sha256 = version.tags.get(FILES_SHA256)
        if sha256 is None:
            return None
        uri = f"runs:/{version.run_id}/{CHECKSUMS}"
        path = self._fetched(version, CHECKSUMS, uri, lambda path: Checksums.read(path, sha256))
        return Checksums.read(path, sha256)

    def _fetched(self, version: Version, what: str, uri: str, check: Check) -> Path:
        place = _CACHE / self._name / f"{version.number}-{version.run_id[:8]}" / what
        if _passes(check, place):
            return place
        place.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place.parent), TemporaryDirectory(prefix=_UNFINISHED, dir=place.parent) as temporary:
            if _passes(check, place):  # another process has fetched it meanwhile
                return place
            fetched = self._download(version, what, uri, Path(temporary))
            self._checked(version, fetched, check)
            if place.exists():
                place.replace(Path(temporary) / "old")
            fetched.replace(place)
        return place

    def _download(self, version: Version, what: str, uri: str, into: Path) -> Path:
        import mlflow
        from mlflow.exceptions import MlflowException

        try:
            return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(into)))
        except (MlflowException, OSError) as error:
            if known := refusal(error) or explained(mlflow.get_tracking_uri(), error):
                raise UnavailableError(known) from None  # the artifacts may well be there
            raise RegistryError(
                f"the {what} of {self._name} version {version.number} cannot be fetched "
                f"({next(iter(str(error).splitlines()), type(error).__name__)}): if MLflow's artifacts are gone "
                "for good, delete that version there."
            ) from None

    def _checked(self, version: Version, fetched: Path, check: Check) -> None:
        try:
            check(fetched)
        except (DataError, RegistryError, OSError) as error:
            raise RegistryError(
                f"{self._name} version {version.number} is not what was registered: {error}. None of it was used. "
                "Find out who changed MLflow's artifacts, then restore them, or use another version: "
                "`reconv rollback --reason TEXT`, `reconv models`."
            ) from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time fetch into `folder`, and remove what a killed one left there."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for unfinished in folder.glob(f"{_UNFINISHED}*"):
            rmtree(unfinished, ignore_errors=True)
        yield
    finally:
        os.close(descriptor)


def _passes(check: Check, place: Path) -> bool:
    """Return whether `place` is there and is what was registered."""
    try:
        check(place)
    except (DataError, RegistryError, OSError):
        return False
    return place.exists()


def _of(registered: dict[str, str]) -> Check:
    return lambda folder: check_files(folder, registered)


def _of_any(folder: Path) -> None:
    """Check only that all are regular files: there are no checksums to compare with."""
    checksums_of(folder)


def _of_weights(version: Version) -> Check:
    """Return a check of the weights only, for a version that was registered without checksums."""

    def check(folder: Path) -> None:
        sha256 = version.tags.get(WEIGHTS_SHA256)
        if sha256 and sha256_of_file(folder / WEIGHTS) != sha256:
            raise RegistryError(f"{WEIGHTS} differs")

    return check
