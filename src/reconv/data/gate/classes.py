"""Classes that are missing, too small, rare, uneven or easily confused by name."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from unicodedata import normalize

import pandas as pd

from reconv.artifacts import DataFinding
from reconv.data.gate.examined import Examined, counted, quoted, remark
from reconv.untrusted import printable

_FEW_IMAGES = 20
_IMBALANCE = 10.0
_MAX_NAMED = 5


def class_findings(examined: Examined) -> Iterator[DataFinding]:
    """Yield what is wrong with the classes, errors first."""
    names, images = list(examined.class_names), examined.images
    counts = pd.crosstab(images["class"], images["split"]).reindex(names, fill_value=0)
    yield from _too_small(examined)
    if examined.has_splits:
        for split in counts:
            for name in counts.index[counts[split] == 0]:
                text = f"class {quoted(name)} has no image in {split}: add some to it."
                yield remark("missing class", "error", text)
    if examined.empty_folders:
        yield without_files(examined.empty_folders)
    yield from _uneven(counts["train"] if "train" in counts else counts.sum(axis=1))
    if examined.alike_classes:
        text = (
            f"many images look alike in {_some(examined.alike_classes)}, as with a camera that stands still: they are "
            "not taken for copies. If they are of one series, name it by data.group."
        )
        yield remark("classes of look-alikes", "warning", text)
    if alike := [*_alike(names)]:
        more = f" There are {len(alike) - _MAX_NAMED:,} more such classes." if len(alike) > _MAX_NAMED else ""
        yield remark("alike classes", "warning", " ".join(alike[:_MAX_NAMED]) + more)


def without_files(folders: Sequence[str]) -> DataFinding:
    """Report folders beside the classes that hold no file: often a copy that was cut short."""
    text = f"{counted(len(folders), 'folder')} without a file, not used as a class."
    return remark("empty folders", "warning", text, folders)


def _too_small(examined: Examined) -> Iterator[DataFinding]:
    for key, counts in examined.too_small.items():
        text = (
            f"{counted(len(counts), 'class', 'classes')} too small to be split by {key}, each must have at least 2 "
            "images (or groups of images that stay together): add images or remove the class."
        )
        about = [f"class {quoted(name)} has {count} left{_why(examined, name)}" for name, count in counts.items()]
        yield remark(f"too small for {key}", "error", text, about)


def _why(examined: Examined, name: str) -> str:
    """Say it of a class of several images that are all the same: copies stay in one split."""
    images = examined.images[examined.images["class"] == name]
    if len(images) < 2 or images["content"].nunique() > 1:
        return ""
    return f": its {len(images):,} images have the same pixels"


def _uneven(train: "pd.Series[int]") -> Iterator[DataFinding]:
    few = [f"{name} ({count})" for name, count in train.items() if 0 < count < _FEW_IMAGES]
    if few:
        yield remark("few images", "warning", f"less than {_FEW_IMAGES} training images of {_some(few)}.")
    if train.min() and train.max() / train.min() > _IMBALANCE:
        most, least = printable(str(train.idxmax())), printable(str(train.idxmin()))
        text = f"{most} has {train.max() / train.min():.0f} times the training images of {least}."
        yield remark("imbalance", "warning", text)


def _alike(names: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each group of names that a person or another file system would confuse."""
    groups = defaultdict(list)
    for name in names:
        groups[normalize("NFKC", normalize("NFKC", name).casefold()).strip()].append(name)
    for group in groups.values():
        if len(group) > 1:
            *others, last = map(quoted, group)
            yield f"The classes {', '.join(others)} and {last} differ only in {_difference(group)}."


def _difference(group: Sequence[str]) -> str:
    if len({name.strip() for name in group}) == 1:
        return "blanks around the name"
    if len({normalize("NFKC", name) for name in group}) == 1:
        return "how a letter is encoded (Unicode has several ways)"
    if len({name.casefold() for name in group}) == 1:
        return "case: Windows and macOS take them for one folder"
    return "case, blanks around the name or how a letter is encoded"


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(printable, names[:_MAX_NAMED])) + (" and others" if len(names) > _MAX_NAMED else "")
