"""Which files of a folder or archive are not read as images, and why. Called by folders, files and prediction."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

from reconv.artifacts import SkippedFiles
from reconv.data.decoding import is_image, is_named_like_an_image
from reconv.data.storage import Storage
from reconv.errors import ImageError

OUTSIDE, BESIDE = "outside the class folders", "beside the split folders"
NOT_AN_IMAGE, OF_THE_SYSTEM, HIDDEN = "not an image", "of the system", "hidden"
_SYSTEM_FOLDERS = frozenset(
    {
        *("__macosx", "@eadir", "@recycle", "#recycle", "$recycle.bin"),
        *("system volume information", "lost+found", "__pycache__"),
    }
)
"""Folders that operating systems and file servers add. Some hold thumbnails, which are images."""
_MAX_FILES, _MAX_KINDS = 50, 4
Skipped = Mapping[str, str]
"""File or folder -> the reason."""


def sort_out(names: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Return the names that may be images', and what is hidden or of the system: of a folder only its own name."""
    kept, skipped, of_folders = [], dict[str, str](), dict[str, tuple[str, str] | None]()
    for name in names:
        folder, _, last = name.rpartition("/")
        if folder not in of_folders:
            of_folders[folder] = _first_ignored(PurePosixPath(folder).parts)
        if found := of_folders[folder] or (_first_ignored(PurePosixPath(name).parts) if last[:1] == "." else None):
            skipped[found[0]] = found[1]
        else:
            kept.append(name)
    return kept, skipped


def is_of_the_system(folder: str) -> bool:
    """Return whether a path is, or is in, a folder that a system made for itself."""
    return _first_ignored(PurePosixPath(folder).parts) is not None


def _first_ignored(parts: Sequence[str]) -> tuple[str, str] | None:
    for at, part in enumerate(parts):
        if part.lower() in _SYSTEM_FOLDERS or part.startswith("."):
            return "/".join(parts[: at + 1]), HIDDEN if part.startswith(".") else OF_THE_SYSTEM
    return None


def not_images(storage: Storage, names: Iterable[str]) -> dict[str, str]:
    """Return those that are not images by their first bytes. A file that is named like an image is not looked at:
    whatever is wrong with it is found when it is read."""
    doubtful = [name for name in names if not is_named_like_an_image(name)]
    with ThreadPoolExecutor(storage.num_threads) as pool:
        reasons = map if storage.num_threads == 1 else pool.map
        found = zip(doubtful, reasons(lambda name: _why_not(storage, name), doubtful), strict=True)
        return {name: reason for name, reason in found if reason}


def _why_not(storage: Storage, name: str) -> str:
    try:
        return "" if is_image(storage.head(name), name) else NOT_AN_IMAGE
    except ImageError as error:
        return str(error)


def grouped(skipped: Skipped) -> tuple[SkippedFiles, ...]:
    """Return what was skipped by reason: what a user would miss comes first, what systems leave behind last."""
    by_reason: dict[str, list[str]] = {}
    for name in sorted(skipped):
        by_reason.setdefault(skipped[name], []).append(name)
    known = (OUTSIDE, BESIDE, NOT_AN_IMAGE, OF_THE_SYSTEM, HIDDEN)
    reasons = sorted(by_reason, key=lambda reason: (known.index(reason) if reason in known else 1, reason))
    return tuple(_group(reason, by_reason[reason]) for reason in reasons)


def _group(reason: str, names: Sequence[str]) -> SkippedFiles:
    kind = _folder if reason == BESIDE else _suffix if reason == NOT_AN_IMAGE else _last
    kinds = [name for name, _ in Counter(map(kind, names)).most_common()]
    more = ("…",) if len(kinds) > _MAX_KINDS else ()
    return SkippedFiles(
        reason=reason, count=len(names), kinds=(*kinds[:_MAX_KINDS], *more), files=tuple(names[:_MAX_FILES])
    )


def _folder(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.parent) if path.parent.name else path.name


def _last(name: str) -> str:
    return PurePosixPath(name).name


def _suffix(name: str) -> str:
    path = PurePosixPath(name)
    return path.suffix.lower() or path.name
