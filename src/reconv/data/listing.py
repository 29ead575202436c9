"""Image files with what is known of them before any is decoded. Made by `fetch`, from a folder, an archive or a table.

N files.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reconv.data.decoding import SUFFIXES
from reconv.data.storage import Storage
from reconv.errors import DataError

_SPLIT_FOLDERS = {"train": "train", "training": "train", "val": "validation", "valid": "validation"} | {
    name: name for name in ("validation", "test")
}
_PATH_COLUMNS, _LABEL_COLUMNS = ("path", "image", "file", "filename"), ("label", "class")
TABLE_COLUMNS = (*_PATH_COLUMNS, *_LABEL_COLUMNS, "split")
"""The columns that are read from a table, besides the groups."""
_SHOWN_COLUMNS, _SHOWN_LETTERS = 20, 50
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
    is_split = bool(tops) and all(top.lower() in _SPLIT_FOLDERS for top in tops)
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
    splits = tuple(_SPLIT_FOLDERS[parts[name][0].lower()] if is_split else "" for name in files)
    empty = tuple(_without_files(storage.folders(), as_stored.values(), depth))
    return Listing(tuple(folders), tuple(files), labels, splits, ("",) * len(files), empty, without_images)


def _without_files(folders: Iterable[str], files: Iterable[tuple[str, ...]], depth: int) -> Iterator[str]:
    """Yield those of `folders`, on the levels of classes and splits, that hold none of the files at any depth."""
    filled = {parts[:level] for parts in files for level in (1, 2)}
    for folder in map(PurePosixPath, folders):
        below_empty = folder.parts[:1] not in filled and len(folder.parts) > 1
        if len(folder.parts) <= depth + 1 and folder.parts not in filled and not below_empty:
            yield str(folder)


def list_table(table: pd.DataFrame, where: str, group: str | None) -> Listing:
    """Columns: path (or image, file, filename), label (or class), and if there are, split and the one named `group`.

    Raises:
        DataError: a column is missing or a value of it, a path leads out of the table's folder, or one image stands
            there with two labels.
    """
    path, label = (_column(table, names, where) for names in (_PATH_COLUMNS, _LABEL_COLUMNS))
    columns = {"path": path, "label": label}
    if "split" in table:
        columns["split"] = "split"
    if group is not None:
        columns["group"] = _column(table, (group,), where)
    plain = pd.DataFrame({name: table[column] for name, column in columns.items()})
    for name, column in columns.items():
        if plain[name].isna().any():
            row = int(plain[name].isna().to_numpy().argmax())
            raise DataError(f"{where} has no {column} in row {row + 1}: every row needs one.")
        plain[name] = plain[name].astype(str)
    plain["path"] = [str(PurePosixPath(path)) for path in plain["path"]]  # "./1.png" is "1.png"
    plain = plain.drop_duplicates().sort_values("path", kind="stable")
    if plain["path"].duplicated().any():
        twice = plain["path"][plain["path"].duplicated()].iloc[0]
        raise DataError(f"{where} has {twice} twice, with another label, split or group: correct one of them.")
    _refuse_outside(plain["path"], where)
    names = sorted(plain["label"].unique().tolist())
    if len(names) < 2:
        raise DataError(f"{where} has {len(names)} classes, must have at least 2.")
    splits = plain["split"].str.lower().map(_SPLIT_FOLDERS) if "split" in plain else pd.Series("", plain.index)
    if splits.isna().any():
        raise DataError(
            f"{where} has the split {plain['split'][splits.isna()].iloc[0]!r}, must be train, validation or test."
        )
    number = {name: index for index, name in enumerate(names)}
    groups = plain["group"] if "group" in plain else pd.Series("", plain.index)
    return Listing(
        tuple(names), tuple(plain["path"]), plain["label"].map(number).to_numpy(np.int64), tuple(splits), tuple(groups)
    )


def image_paths(table: pd.DataFrame, where: str) -> list[str]:
    """The column path (or image, file, filename) of a table that need have no other, each once, in its order.

    Raises:
        DataError: there is none, or a path leads out of the table's folder.
    """
    column = table[_column(table, _PATH_COLUMNS, where)].dropna().astype(str)
    paths = list(dict.fromkeys(str(PurePosixPath(path)) for path in column))
    _refuse_outside(paths, where)
    return paths


def _refuse_outside(paths: Iterable[str], where: str) -> None:
    for path in paths:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise DataError(f"{where} names {path!r}: paths are relative to the table's folder and stay within it.")


def is_named_like_an_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES and name.lower() not in _NO_IMAGES


def _below_the_only_folder(parts: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Archives often hold one folder that holds everything."""
    while parts and len({path[0] for path in parts.values()}) == 1 and min(map(len, parts.values())) > 2:
        parts = {name: path[1:] for name, path in parts.items()}
    return parts


def _column(table: pd.DataFrame, names: Sequence[str], where: str) -> str:
    for name in names:
        if name in table:
            return name
    columns = [str(column)[:_SHOWN_LETTERS] for column in table.attrs.get("columns", table.columns)]
    more = f" and {len(columns) - _SHOWN_COLUMNS:,} more" if len(columns) > _SHOWN_COLUMNS else ""
    raise DataError(
        f"{where} has the columns {', '.join(columns[:_SHOWN_COLUMNS])}{more}, must have one named "
        f"{' or '.join(names)}."
    )
