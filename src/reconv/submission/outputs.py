"""DVC's objects between its cache and a cluster's storage, where they lie as in a remote of DVC's own.

Whatever fsspec opens will do as storage, without DVC's package for it, and nothing waits for the lock that a running
`dvc repro` holds. `dvc pull` reads STORAGE/dvc too. What arrives is checked, as others may write there.
"""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from reconv.errors import ReconvError, SubmissionError, UnavailableError
from reconv.files import atomic, md5_of_file, opened_store, upload
from reconv.masking import masked
from reconv.submission.locked import Digest, Output

if TYPE_CHECKING:
    from upath import UPath

_AT_ONCE = 8
_DIRECTORY = ".dir"
_Folder = TypeVar("_Folder", Path, "UPath")
_READ_ONLY = 0o444  # by which DVC knows an object that it need not check again


class _Member(BaseModel):
    md5: Digest
    relpath: str


class Outputs:
    """The objects of `storage` (a URL) and those of the cache in a folder of this machine."""

    def __init__(self, storage: str, cache: Path) -> None:
        self._storage = storage
        self._remote = opened_store(storage) / "dvc" / "files" / "md5"
        self._cache = cache / "files" / "md5"

    def push(self, outputs: Iterable[Output]) -> int:
        """Send what this machine has of them; the number of bytes that were not there yet. A directory's list goes
        after its files: where it is, they are.

        Raises:
            UnavailableError: the storage cannot be used.
        """
        sent = 0
        for out in outputs:
            here = _object(self._cache, out.md5)
            if not here.exists():  # of an output that DVC does not cache
                here = Path(out.path)
                if not here.is_file() or md5_of_file(here) != out.md5:
                    continue
            if self._is_there(out.md5):
                continue
            members = {member.md5: _object(self._cache, member.md5) for member in _members_of(out, here)}
            if not all(path.exists() for path in members.values()):
                continue
            with ThreadPoolExecutor(_AT_ONCE) as at_once:
                sent += sum(at_once.map(self._send, members.keys(), members.values()))
            sent += self._send(out.md5, here)
        return sent

    def fetch(self, outputs: Iterable[Output], allow_missing: bool = False) -> None:
        """Bring them into the cache; `allow_missing` leaves out what the storage does not have.

        Raises:
            SubmissionError: something is missing there, or is not what was sent.
            UnavailableError: the storage cannot be used.
        """
        for out in outputs:
            if allow_missing and not self.has(out) and not self._is_there(out.md5):
                continue
            self._receive(out.md5)
            members = {member.md5 for member in _members_of(out, _object(self._cache, out.md5))}
            with ThreadPoolExecutor(_AT_ONCE) as at_once:
                list(at_once.map(self._receive, members))

    def has(self, out: Output) -> bool:
        """Whether it is in the cache, as a whole."""
        here = _object(self._cache, out.md5)
        return here.exists() and all(_object(self._cache, one.md5).exists() for one in _members_of(out, here))

    def content(self, out: Output) -> bytes:
        """Of a file that was fetched."""
        return _object(self._cache, out.md5).read_bytes()

    def _is_there(self, md5: str) -> bool:
        with reaching(self._storage):
            return _object(self._remote, md5).exists()

    def _send(self, md5: str, here: Path) -> int:
        with reaching(self._storage):
            there = _object(self._remote, md5)
            if there.exists():
                return 0
            upload(here, there)
        return here.stat().st_size

    def _receive(self, md5: str) -> None:
        here, there = _object(self._cache, md5), _object(self._remote, md5)
        if here.exists():
            return
        with atomic(here) as temporary:
            with reaching(self._storage):
                if not there.exists():
                    raise SubmissionError(f"{there} is missing.")
                there.fs.get_file(there.path, str(temporary))
            if md5_of_file(temporary) != md5.removesuffix(_DIRECTORY):
                raise SubmissionError(f"{there} is not what was written there: delete it.")
            if md5.endswith(_DIRECTORY):
                _members(temporary)
        here.chmod(_READ_ONLY)


def link_directory(cache: Path, md5: str, to: Path) -> bool:
    """Make the folder `to`, with links to the objects of a directory in DVC's cache; False if one is not there.

    Raises:
        SubmissionError: its list is damaged.
    """
    objects = cache / "files" / "md5"
    listed = _object(objects, md5)
    if not listed.exists():
        return False
    for member in _members(listed):
        here = _object(objects, member.md5)
        if not here.exists():
            return False
        (to / member.relpath).parent.mkdir(parents=True, exist_ok=True)
        (to / member.relpath).symlink_to(here)
    return True


@contextmanager
def reaching(storage: str) -> Iterator[None]:
    """Raises UnavailableError for what the store's client raises in the block."""
    try:
        yield
    except ReconvError:
        raise
    except Exception as error:
        reason = masked(next(iter(str(error).strip().splitlines()), type(error).__name__), storage)
        raise UnavailableError(
            f"resources.storage is {storage}, which cannot be used ({reason}).\n"
            "Correct it in params.yaml, or what opens it in this machine's environment."
        ) from None


def _object(root: _Folder, md5: str) -> _Folder:
    return root / md5[:2] / md5[2:]


def _members_of(out: Output, here: Path) -> list[_Member]:
    """None, if it is a file."""
    return _members(here) if out.md5.endswith(_DIRECTORY) else []


def _members(listed: Path) -> list[_Member]:
    """Raises SubmissionError: the list of a directory is none, or names a file outside of it."""
    try:
        members = TypeAdapter(list[_Member]).validate_python(json.loads(listed.read_bytes()))
    except (ValueError, ValidationError):
        raise SubmissionError(f"{listed} is no list of a directory's files: delete it.") from None
    for member in members:
        path = PurePosixPath(member.relpath)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise SubmissionError(f"{listed} names {member.relpath!r}, which is not in its directory: delete it.")
    return members
