"""Class folders, with or without split folders above them -> a listing. Called by files.

A folder is known by its parts: ("train", "cat"). The folders that hold class folders are called roots.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import PurePosixPath

import numpy as np

from reconv.data.listing import SPLIT_FOLDERS, Listing
from reconv.data.skipped import BESIDE, OUTSIDE, is_of_the_system, sort_out
from reconv.data.storage import Storage
from reconv.errors import DataError
from reconv.untrusted import printable

Folder = tuple[str, ...]
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_AFTER_A_SPLIT = re.compile(r"(set|data|dataset|images?|imgs?|files?|folder|dir)$")
_NEARLY_ALL = 0.8  # of the class folders: a rare class may be missing in a split
_MAX_NAMED = 4


def list_folder(storage: Storage, where: str) -> Listing:
    """Return every file below a class folder. All may be in one more folder, the splits in folders above the classes.

    Raises:
        DataError: there are fewer than two classes, or the folders look like something else than classes.
    """
    names, skipped = sort_out(storage.names())
    folder_of = {parent: PurePosixPath(parent).parts for parent in {name.rpartition("/")[0] for name in names}}
    counts = Counter[Folder]()
    for parent, count in Counter(name.rpartition("/")[0] for name in names).items():
        counts[folder_of[parent]] += count
    roots = _roots(counts, where)
    has_splits = "" not in roots.values()
    classes = sorted({name for root in roots for name in _below(counts, root)})
    if len(classes) < 2:
        raise DataError(_too_few(len(classes), roots, counts, where))
    number = {name: index for index, name in enumerate(classes)}
    place_of = {parent: _place(folder, roots) for parent, folder in folder_of.items()}
    files, labels, splits = [], [], []
    for name in sorted(names):
        root, class_name = place_of[name.rpartition("/")[0]]
        if class_name is not None:
            files.append(name)
            labels.append(number[class_name])
            splits.append(roots[root])
        else:
            skipped[name] = OUTSIDE if root in roots or not has_splits else BESIDE
    empty = tuple(_without_files(storage.folders(), counts, max(map(len, roots))))
    no_groups = ("",) * len(files)
    return Listing(
        tuple(classes), tuple(files), np.array(labels, np.int64), tuple(splits), no_groups, empty, skipped=skipped
    )


def _place(folder: Folder, roots: Mapping[Folder, str]) -> tuple[Folder, str | None]:
    """Return the root that a file in `folder` is below, and the class; None if it is in no class folder."""
    for length in range(len(folder), -1, -1):
        if folder[:length] in roots:
            return folder[:length], folder[length] if len(folder) > length else None
    return (), None


def _without_files(folders: Iterable[str], filled: Iterable[Folder], depth: int) -> Iterator[str]:
    """Yield those of `folders`, on the levels of classes and splits, that hold no file at any depth."""
    prefixes = {folder[:level] for folder in filled for level in (1, 2)}
    for name in folders:
        parts = PurePosixPath(name).parts
        below_empty = parts[:1] not in prefixes and len(parts) > 1
        if len(parts) <= depth + 1 and parts not in prefixes and not below_empty and not is_of_the_system(name):
            yield name


def split_of(name: str) -> str:
    """Return the split that a folder's name means, also with more words around it (seg_train, TestSet, val2017); ""
    if it means none or several."""
    words = [word.lower() for word in _WORD.findall(name)]
    found = {SPLIT_FOLDERS.get(_AFTER_A_SPLIT.sub("", word), "") for word in words} - {""}
    return found.pop() if len(found) == 1 else ""


def _roots(counts: Mapping[Folder, int], where: str) -> dict[Folder, str]:
    """Return the folders that hold class folders, each with its split; "" where there are no splits."""
    top: Folder = ()
    while wrapper := _wrapper(counts, top):
        top = (*top, wrapper)
    below = _below(counts, top)
    roots = _split_folders(counts, top)
    if not roots:
        _refuse_lonely_split(below, where)
        roots = {top: ""}
    for split in {split for split in roots.values() if split}:
        same = sorted(root[len(top)] for root in roots if roots[root] == split)
        if len(same) > 1:
            raise DataError(
                f"{where} has {len(same)} folders for {split}, {_some(same)}, must have one: merge them or move the "
                "others away."
            )
    _refuse_same_subfolders(counts, roots, where)
    return roots


def _below(counts: Iterable[Folder], at: Folder) -> dict[str, set[str]]:
    """Return the folders in `at` that hold files at any depth, each with the names of those in it."""
    below: dict[str, set[str]] = {}
    depth = len(at)
    for folder in counts:
        if len(folder) > depth and folder[:depth] == at:
            below.setdefault(folder[depth], set()).update(folder[depth + 1 : depth + 2])
    return below


def _wrapper(counts: Mapping[Folder, int], at: Folder) -> str:
    """Return the sub-folder of `at` that contains nearly all files, in its own sub-folders; "" if there is none."""
    below = _below(counts, at)
    if _split_folders(counts, at):
        return ""
    above_splits = [name for name, inner in below.items() if len({*map(split_of, inner)} - {""}) > 1]
    candidates = above_splits if len(above_splits) == 1 else [*below]
    if len(candidates) != 1:
        return ""
    inside = (*at, candidates[0])
    depth = len(inside)
    num_deeper = sum(count for folder, count in counts.items() if len(folder) > depth and folder[:depth] == inside)
    num_all = sum(count for folder, count in counts.items() if folder[: len(at)] == at)
    return candidates[0] if 2 * num_deeper > num_all else ""


def _split_folders(counts: Mapping[Folder, int], at: Folder) -> dict[Folder, str]:
    """Return the split folders in `at`, or the folder in each that holds all of it; nothing if there are none."""
    below = _below(counts, at)
    named = {name: split for name in below if (split := split_of(name))}
    above_classes = {(*at, name): split for name, split in named.items() if below[name]}
    num_splits = len(set(named.values()))
    if named and len(named) == len(below) and (num_splits > 1 or all(name.lower() in SPLIT_FOLDERS for name in named)):
        return _unwrapped(counts, above_classes or {(*at, name): split for name, split in named.items()})
    roots = _unwrapped(counts, above_classes)
    classes = Counter(name for root in roots for name in _below(counts, root))
    have_common_classes = max(classes.values(), default=0) > 1
    is_sure = have_common_classes if len(set(roots.values())) > 1 else bool(roots)
    return roots if num_splits > 1 and is_sure else {}


def _unwrapped(counts: Mapping[Folder, int], roots: dict[Folder, str]) -> dict[Folder, str]:
    """Go into folders like seg_train/seg_train, and into those that all splits have above their classes."""
    below = {root: _below(counts, root) for root in roots}
    only = {root: next(iter(inner)) for root, inner in below.items() if len(inner) == 1}
    wrapped = {root for root, name in only.items() if split_of(name) == roots[root]}
    if len(only) == len(roots) and all(below[root][name] for root, name in only.items()):
        wrapped = {*only}
    if not wrapped:
        return roots
    return _unwrapped(
        counts, {(*root, only[root]) if root in wrapped else root: split for root, split in roots.items()}
    )


def _refuse_lonely_split(below: Mapping[str, Set[str]], where: str) -> None:
    """Refuse one split folder beside folders without sub-folders: both readings, as splits and as classes, fit."""
    splits = [name for name, inner in below.items() if len(inner) > 1 and split_of(name)]
    others = [name for name in below if name not in splits]
    if splits and others and not any(below[name] for name in others):
        name = splits[0]
        raise DataError(
            f"{where} has the folder {printable(name)} with sub-folders ({_some(below[name])}) beside "
            f"{_some(others)} without any: it looks like a split, not like a class. Move the others away; or, if all "
            "are classes, name the images in a table (data.source: table:PATH)."
        )


def _refuse_same_subfolders(counts: Mapping[Folder, int], roots: Mapping[Folder, str], where: str) -> None:
    """Refuse class folders that all, or nearly all, have the same sub-folders: they are splits, parts or domains."""
    inner: dict[str, set[str]] = {}
    num_direct = num_deeper = 0
    for root in roots:
        for name, below in _below(counts, root).items():
            inner.setdefault(name, set()).update(below)
            num_direct += counts.get((*root, name), 0)
    for folder, count in counts.items():
        root, class_name = _place(folder, roots)
        num_deeper += count if class_name is not None and len(folder) > len(root) + 1 else 0
    having = Counter(name for below in inner.values() for name in below)
    shared = sorted(name for name, count in having.items() if count >= max(2, _NEARLY_ALL * len(inner)))
    if len(shared) < 2 or 2 * len(shared) < len(having) or num_direct > num_deeper:
        return
    classes = sorted(inner)
    first = classes[0]
    if all(map(split_of, shared)):
        remedy = f"Put the splits above the classes: {shared[0]}/{first} instead of {first}/{shared[0]}."
    else:
        remedy = (
            "If the sub-folders are the classes, rename the folders above to train, validation and test, or use one "
            f"of them (data.source: folder:…/{first}). If some hold something else, such as masks, move those away."
        )
    raise DataError(
        f"The folders {_some(classes)} of {where} have the same sub-folders, {_some(shared)}: they do not look like "
        f"classes. {printable(remedy)} If they are classes, name the images in a table (data.source: table:PATH)."
    )


def _too_few(number: int, roots: Mapping[Folder, str], counts: Mapping[Folder, int], where: str) -> str:
    folders = "1 class folder" if number == 1 else f"{number} class folders"
    text = f"{where} has {folders} with files, must have at least 2: one sub-folder for each class."
    direct = ["/".join(root) for root in roots if counts.get(root) and roots[root]]
    return f"{text} There are files without a class in {_some(direct)}." if direct else text


def _some(names: Iterable[str]) -> str:
    shown = sorted(names)
    more = f" and {len(shown) - _MAX_NAMED:,} more" if len(shown) > _MAX_NAMED else ""
    return ", ".join(map(printable, shown[:_MAX_NAMED])) + more
