"""The rows of a table -> the images that they name. Called by files and prediction."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from reconv.data.listing import SPLIT_FOLDERS, Listing
from reconv.data.storage import Storage
from reconv.data.tables import Table
from reconv.errors import DataError, ImageError
from reconv.params import ColumnsParams

_PATHS, _LABELS, _SPLIT = ("path", "image", "file", "filename"), ("label", "class"), "split"
_FIELD = re.compile(r"\{([^{}]+)\}")
_BACKSLASH = re.compile(r"\\(\\|x[89a-f][0-9a-f])?")  # with more it is how storage writes an unusual name
_IN_PARAMS = "in params.yaml, such as data.columns: {path: id, label: kind}"
_MAX_TRIED, _MAX_COMPARED = 20, 5_000


def wanted(columns: ColumnsParams, group: str | None = None) -> tuple[str, ...]:
    """Return the names of all columns that `list_table` and `image_paths` may use."""
    named = [*_FIELD.findall(_pattern_of(columns.path or "")), columns.label, columns.split, group]
    return tuple(dict.fromkeys([name for name in named if name] + [*_PATHS, *_LABELS, _SPLIT]))


def list_table(
    table: Table, where: str, columns: ColumnsParams, group: str | None = None, root: str | None = None
) -> Listing:
    """List the images by the columns path (or image, file, filename), label (or class), and if there are, split and
    the one named `group`; `columns` may name others. Blanks around values are not part of them. `root` is the table's
    folder, within which paths may be absolute.

    Raises:
        DataError: a column is missing or a value of it, a path leads out of the table's folder, or one image stands
            there with two labels.
    """
    split = columns.split or (_SPLIT if _SPLIT in table.rows else None)
    used = {"label": columns.label or _first_of(_LABELS, table), "split": split, "group": group}
    pattern = _path_pattern(table, columns)
    _refuse_missing(table, where, [pattern, *(f"{{{name}}}" for name in used.values() if name)])
    plain = pd.DataFrame(
        {"path": _paths(table, pattern, where, root)}
        | {name: _values(table, column, where) for name, column in used.items() if column}
    )
    plain = plain.drop_duplicates().sort_values("path", kind="stable")
    if plain["path"].duplicated().any():
        twice = plain["path"][plain["path"].duplicated()].iloc[0]
        raise DataError(f"{where} has {twice} twice, with another label, split or group: correct one of them.")
    names = sorted(plain["label"].unique().tolist())
    if len(names) < 2:
        raise DataError(f"{where} has {len(names)} classes, must have at least 2.")
    splits = plain["split"].str.lower().map(SPLIT_FOLDERS) if split else pd.Series("", plain.index)
    if splits.isna().any():
        raise DataError(
            f"{where} has the split {plain['split'][splits.isna()].iloc[0]!r}, must be train, validation or test."
        )
    number = {name: index for index, name in enumerate(names)}
    return Listing(
        tuple(names),
        tuple(plain["path"]),
        plain["label"].map(number).to_numpy(np.int64),
        tuple(splits),
        tuple(plain["group"]) if group else ("",) * len(plain),
        remarks=tuple(f"{where} {remark}" for remark in (*table.remarks, *_stripped(table, used))),
    )


def image_paths(table: Table, where: str, columns: ColumnsParams, root: str | None = None) -> list[str]:
    """Return the paths that a table names, each once, in its order; it need have no other column, and rows without a
    path are left out.

    Raises:
        DataError: there is no such column, or a path leads out of the table's folder.
    """
    pattern = _path_pattern(table, columns)
    _refuse_missing(table, where, [pattern], "by --path, such as --path id")
    filled = table.rows.dropna(subset=_FIELD.findall(pattern))
    return list(dict.fromkeys(_paths(Table(filled, table.header), pattern, where, root)))


def refuse_if_none_exists(
    storage: Storage, paths: Sequence[str], table: Table, where: str, columns: ColumnsParams, option: str
) -> None:
    """Raise DataError if no image is where the table says, with the nearest file that exists, and how `option` (of
    params.yaml or of a command) names the files."""
    some = paths[:: max(1, len(paths) // _MAX_TRIED)]
    if not some or any(_is_readable(storage, path) for path in some):
        return
    try:
        names = storage.names()
    except DataError:  # it lists none, as https
        names = []
    if set(some).intersection(names):
        return
    path = some[0]
    near = _nearest(path, names)
    lines = [f"{where} names {len(paths):,} images, none of which exists.", _head_of(table), f"looked for: {path}"]
    if near:
        pattern = near.replace(path, _path_pattern(table, columns))
        lines.append(f"nearest file: {near}")
        lines.append(option.format(pattern) if _FIELD.search(pattern) else "Correct the paths; they are relative to "
            "the table's folder.")  # fmt: skip
    raise DataError("\n".join(lines))


def _is_readable(storage: Storage, path: str) -> bool:
    try:
        return bool(storage.read(path))
    except ImageError:
        return False


def _nearest(path: str, names: Sequence[str]) -> str | None:
    """Return a file of the same name, perhaps in another folder or with another suffix, else one of a similar name."""
    stems = {PurePosixPath(path).name, PurePosixPath(path).stem}
    for name in names:
        if stems & {PurePosixPath(name).name, PurePosixPath(name).stem}:
            return name
    return next(iter(get_close_matches(path, names[:_MAX_COMPARED], 1, 0.0)), None)


def _pattern_of(path: str) -> str:
    return path if _FIELD.search(path) else f"{{{path}}}"


def _path_pattern(table: Table, columns: ColumnsParams) -> str:
    """Return how a row names its image, such as images/{id}.png."""
    return _pattern_of(columns.path or _first_of(_PATHS, table))


def _first_of(names: Sequence[str], table: Table) -> str:
    """Return the first that is a column, or all in words, to be refused as a missing one."""
    return next((name for name in names if name in table.rows), " or ".join(names))


def _refuse_missing(table: Table, where: str, patterns: Iterable[str], by: str = _IN_PARAMS) -> None:
    missing = [name for pattern in patterns for name in _FIELD.findall(pattern) if name not in table.rows]
    if missing:
        raise DataError(
            f"{where} must have one column named {' and one named '.join(missing)}: correct its header, or name its "
            f"columns {by}.\n{_head_of(table)}"
        )


def _head_of(table: Table) -> str:
    first = f"\nits first row: {table.first_row}" if table.first_row else ""
    return f"its header: {table.header}{first}"


def _values(table: Table, column: str, where: str) -> "pd.Series[str]":
    """Return the column as text without blanks around it."""
    values = table.rows[column]
    values = values.astype(str).str.strip().where(values.notna(), "")
    if (values == "").any():
        row = int((values == "").to_numpy().argmax())
        raise DataError(f"{where} has no {column} in row {row + 1}: every row needs one.")
    return values


def _stripped(table: Table, used: Mapping[str, str | None]) -> Iterator[str]:
    for column in filter(None, used.values()):
        values = table.rows[column].astype(str)
        changed = values[values != values.str.strip()]
        if len(changed):
            yield f"has blanks around values of {column}, such as {changed.iloc[0]!r}: they are not part of a name"


def _paths(table: Table, pattern: str, where: str, root: str | None) -> list[str]:
    first, *rest = _FIELD.split(pattern)
    paths = pd.Series(first, table.rows.index)
    for column, text in zip(rest[::2], rest[1::2], strict=True):
        paths = paths + _values(table, column, where) + text
    return [_relative(path, where, root) for path in paths]


def _relative(path: str, where: str, root: str | None) -> str:
    r"""Return the path from the root, with "/" for a backslash of Windows: "./a\1.png" is "a/1.png".

    Raises:
        DataError: it leads out of the root.
    """
    if "\\" in path:
        path = _BACKSLASH.sub(lambda found: found[0] if found[1] else "/", path)
    path = str(PurePosixPath(path))
    if root is not None:
        path = path.removeprefix(f"{root.rstrip('/')}/")
    if path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise DataError(f"{where} names {path!r}: paths are relative to the table's folder and stay within it.")
    return path
