"""SHA-256 of the files that a version was registered with. The list is an artifact of the run that registered the
version, and the list's own digest is a tag of the version.
"""

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from reconv.artifacts import Artifact
from reconv.errors import RegistryError
from reconv.files import sha256_of_file

CHECKSUMS = "checksums.json"
FILES_SHA256 = "reconv.files_sha256"
"""The tag of a version."""
_META = "registered_model_meta"  # MLflow writes it into a model's folder whenever somebody loads it
_MAX_BYTES = 16 * 2**20


class Checksums(Artifact):
    """checksums.json: path -> SHA-256 of each file."""

    format_version: Literal[1] = 1
    model: dict[str, str]
    """What MLflow loads: its description, the code and the bundle."""
    opponent: dict[str, str]
    """The bundle of the other model."""

    def under(self, folder: str) -> dict[str, str]:
        """Return the model's files in this folder of it."""
        return {
            path.removeprefix(f"{folder}/"): digest for path, digest in self.model.items() if path.startswith(folder)
        }

    @classmethod
    def read(cls, path: Path, sha256: str) -> "Checksums":
        """Raises RegistryError unless it is the list with this digest."""
        if sha256_of_file(path) != sha256:
            raise RegistryError(f"{CHECKSUMS} is not the list of files that was registered")
        return cls.load(path, _MAX_BYTES)


def checksums_of(folder: Path) -> dict[str, str]:
    """Return path -> SHA-256 of each file of a folder. Compiled code and the file that MLflow writes on loading are
    removed first: Python would run compiled code in place of the source beside it.

    Raises:
        RegistryError: something in it is neither a file nor a folder.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name, mode = path.relative_to(folder).as_posix(), path.lstat().st_mode
        if stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode):
            raise RegistryError(f"{name} is not a regular file")
        if name == _META or path.parent.name == "__pycache__":
            path.unlink()
        else:
            found[name] = sha256_of_file(path)
    return found


def check_files(folder: Path, registered: Mapping[str, str]) -> None:
    """Raises RegistryError naming what differs, is missing or was added."""
    found = checksums_of(folder)
    problems = [f"{name} differs" for name in found if found[name] != registered.get(name, found[name])]
    problems += [f"{name} was added" for name in found.keys() - registered.keys()]
    problems += [f"{name} is missing" for name in registered.keys() - found.keys()]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise RegistryError(", ".join(sorted(problems)[:3]) + more)
