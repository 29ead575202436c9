"""Image files with what is known of them before any is decoded. Made by `fetch`, from a folder, an archive or a table.

N files.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from reconv.data.decoding import SUFFIXES
from reconv.data.storage import Storage
from reconv.errors import DataError

SPLIT_FOLDERS = {"train": "train", "training": "train", "val": "validation", "valid": "validation"} | {
    name: name for name in ("validation", "test")
}
_NO_IMAGES = frozenset({"thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class Listing:
    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    """(N,), as the following."""
    splits: tuple[str, ...]
    """train, validation or test; empty where `prepare` has to choose."""
    groups: tuple[str, ...]
    """Images of one group stay in one split; empty where it has none."""
    empty_folders: tuple[str, ...] = ()
    """Folders beside the classes that hold no file."""
    without_images: tuple[str, ...] = ()
    """Classes that have files, but no image."""
    remarks: tuple[str, ...] = ()
    """What was read leniently, and a user should know."""


def list_folder(storage: Storage, where: str, may_be_wrapped: bool) -> Listing:
    """One sub-folder per class, with or without folders train, validation and test above them; with `may_be_wrapped`
    all of it may lie in one more folder.

    Raises:
        DataError: there are less than two classes.
    """
    as_stored = parts = {name: PurePosixPath(name).parts for name in storage.names()}
    if may_be_wrapped:
        parts = _below_the_only_folder(parts)
    tops = {path[0] for path in parts.values() if len(path) > 1}
    is_split = bool(tops) and all(top.lower() in SPLIT_FOLDERS for top in tops)
    depth = 1 if is_split else 0
    folders = sorted({path[depth] for path in parts.values() if len(path) > depth + 1})
    if len(folders) < 2:
        raise DataError(
            f"{where} has {len(folders)} class folders, must have at least 2: one sub-folder for each class."
        )
    files = sorted(name for name, path in parts.items() if len(path) > depth + 1 and is_named_like_an_image(path[-1]))
    number = {folder: index for index, folder in enumerate(folders)}
    labels = np.array([number[parts[name][depth]] for name in files], np.int64)
    without_images = tuple(folders[number] for number in sorted(set(range(len(folders))) - set(labels.tolist())))
    splits = tuple(SPLIT_FOLDERS[parts[name][0].lower()] if is_split else "" for name in files)
    empty = tuple(_without_files(storage.folders(), as_stored.values(), depth))
    return Listing(tuple(folders), tuple(files), labels, splits, ("",) * len(files), empty, without_images)


def _without_files(folders: Iterable[str], files: Iterable[tuple[str, ...]], depth: int) -> Iterator[str]:
    """Yield those of `folders`, on the levels of classes and splits, that hold none of the files at any depth."""
    filled = {parts[:level] for parts in files for level in (1, 2)}
    for folder in map(PurePosixPath, folders):
        below_empty = folder.parts[:1] not in filled and len(folder.parts) > 1
        if len(folder.parts) <= depth + 1 and folder.parts not in filled and not below_empty:
            yield str(folder)


def is_named_like_an_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES and name.lower() not in _NO_IMAGES


def _below_the_only_folder(parts: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Archives often hold one folder that holds everything."""
    while parts and len({path[0] for path in parts.values()}) == 1 and min(map(len, parts.values())) > 2:
        parts = {name: path[1:] for name, path in parts.items()}
    return parts
