"""Checkpoints whose names hold their digests, so that one that a crash or a disk has torn is noticed. For workers.

Of a training the last two are kept: what is torn costs one epoch more, not the training.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from reconv.files import AnyPath, local_copy, put, sha256_of_file
from reconv.training.job import SaveCheckpoint

_NUM_KEPT = 2


class Checkpoints:
    """Of the training `key`, in a folder or store that it shares with others: KEY.EPOCH.DIGEST.ckpt."""

    def __init__(self, state: AnyPath, key: str) -> None:
        self._state = state
        self._key = key
        self._kept = self._found()
        self._torn: list[AnyPath] = []

    def save(self, epoch: int, save: SaveCheckpoint) -> None:
        """Complete or not at all; then what is older than the last two or torn is deleted."""
        with TemporaryDirectory(prefix=".", dir=self._state if isinstance(self._state, Path) else None) as folder:
            written = save_by_digest(Path(folder), save)
            path = self._state / f"{self._key}.{epoch:06d}.{written.name}"
            put(written, path)
        others = [other for other in self._kept if other != path]
        for other in (*others[_NUM_KEPT - 1 :], *(torn for torn in self._torn if torn != path)):
            other.unlink(missing_ok=True)
        self._kept, self._torn = [path, *others[: _NUM_KEPT - 1]], []

    @contextmanager
    def newest(self, notice: Callable[[str], None]) -> Iterator[Path | None]:
        """Yields a file of this machine: the newest that is as it was written, or None. `notice` is told of any that is
        not, which stays until the next is saved: other ranks may be reading it."""
        for path in [*self._kept]:
            with local_copy(path) as copy:
                if is_intact(copy):
                    yield copy
                    return
            notice(torn(str(path)))
            self._kept.remove(path)
            self._torn.append(path)
        yield None

    def _found(self) -> list[AnyPath]:
        """The newest first."""
        name = re.compile(re.escape(self._key) + r"\.\d+\.[0-9a-f]{64}\.ckpt")
        there = self._state.iterdir() if self._state.exists() else ()  # a store has no empty folders
        found = [path for path in there if name.fullmatch(path.name)]
        return sorted(found, key=lambda path: path.name, reverse=True)


def save_by_digest(folder: Path, save: SaveCheckpoint) -> Path:
    """folder/DIGEST.ckpt"""
    written = folder / "written"
    save(written)
    return written.rename(folder / f"{sha256_of_file(written)}.ckpt")


def is_intact(path: Path) -> bool:
    return path.name.split(".")[-2] == sha256_of_file(path)


def torn(place: str) -> str:
    """What a person reads of it."""
    return f"the checkpoint {place} is not as it was written, and is left out"
