"""The working copy as it travels to a cluster: what git tracks, with its uncommitted changes, and nothing else."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

from reconv.errors import GitError, SubmissionError
from reconv.files import digest_of, sha256_of_file
from reconv.git import ask_git
from reconv.submission.locked import LOCK, kept_in_git, locked_outputs

_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the same files make the same archive


class WorkingTree:
    """Of the current folder.

    Raises:
        SubmissionError: it is no working copy of git.
    """

    def __init__(self) -> None:
        self._kept_in_git = kept_in_git()
        self._tracked = _listed("--cached")
        untracked = _listed("--others", "--exclude-standard")
        self._files = [*self._tracked, *filter(self._is_derived, untracked)]
        made = {out.path for out in locked_outputs(LOCK)}
        self.left_out = [
            name
            for name in untracked
            if not self._is_derived(name) and made.isdisjoint(map(str, (Path(name), *Path(name).parents)))
        ]
        """Neither known to git nor ignored: whoever forgot one of them wants to know."""

    def sums(self) -> dict[str, str]:
        """Path -> SHA-256 of every file that decides what comes out."""
        return {name: sha256_of_file(Path(name)) for name in self._tracked if not self._is_derived(name)}

    def pack(self, archive: Path) -> None:
        """Into a .zip file."""
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for name in sorted(self._files):
                packed.writestr(zipfile.ZipInfo(name, _LONG_AGO), Path(name).read_bytes(), zipfile.ZIP_DEFLATED)

    def _is_derived(self, name: str) -> bool:
        """DVC writes it: it travels even if git does not know it yet, and does not decide what comes out."""
        path = Path(name)
        return path == LOCK or path.name == ".gitignore" or bool(self._kept_in_git.fullmatch(name))


def submission_name(sums: dict[str, str], arguments: Sequence[str]) -> str:
    """The same for the same files and arguments, whatever was committed meanwhile and whoever sends it."""
    return f"reconv-{digest_of({'files': sums, 'arguments': [*arguments]})[:16]}"


def _listed(*options: str) -> list[str]:
    """Regular files: a link might lead to what is not meant to leave this machine."""
    try:
        listed = ask_git("ls-files", "-z", *options)
    except GitError as error:
        raise SubmissionError(f"only what git tracks is sent: {error}") from None
    names = dict.fromkeys(name for name in listed.split("\0") if name)
    return [name for name in names if Path(name).is_file() and not Path(name).is_symlink()]
