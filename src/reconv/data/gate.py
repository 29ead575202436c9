"""What a user should know of image files before hours are spent on them. Called by packing.

The table is that of `fetch`, a row per file.
"""

from collections.abc import Iterator
from typing import Literal

import pandas as pd

from reconv.artifacts import DataFinding
from reconv.errors import DataError
from reconv.params import DataParams

_MAX_NAMED, _MAX_PRINTED = 50, 5
_FEW_IMAGES = 20
_IMBALANCE = 10.0


def check(
    table: pd.DataFrame, chosen_splits: pd.Series, class_names: tuple[str, ...], params: DataParams
) -> tuple[DataFinding, ...]:
    """What is wrong with the files and, by the splits that were `chosen` for those without a problem, with the split.

    Raises:
        DataError: something that may not be; it names what, every such thing at once.
    """
    usable = table[table["problem"] == ""].assign(split=chosen_splits)
    is_given = bool((table["split"] != "").any())
    findings = [
        *_unusable(table, params),
        *_conflicting(usable, class_names),
        *_leaking(usable, is_given, params),
        *_duplicates(usable),
        *_classes(usable, class_names, is_given),
        *_sizes(usable, params.image_size),
    ]
    refuse(findings)
    return tuple(findings)


def refuse(findings: list[DataFinding]) -> None:
    """Raises DataError with all findings that are errors, if there are."""
    errors = [one for one in findings if one.severity == "error"]
    if errors:
        raise DataError("\n".join(in_words(one) for one in errors))


def refuse_unusable(table: pd.DataFrame, params: DataParams) -> None:
    """Raises DataError if more files have a problem than data.on_bad_image and data.max_bad_share allow."""
    refuse(list(_unusable(table, params)))


def in_words(finding: DataFinding) -> str:
    """With the first of its files."""
    shown = "".join(f"\n  - {name}" for name in finding.files[:_MAX_PRINTED])
    more = finding.count - min(len(finding.files), _MAX_PRINTED)
    return f"{finding.text}{shown}" + (f"\n  - and {more:,} more" if finding.files and more else "")


def printable(name: str) -> str:
    """A file's name on one line of any terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _unusable(table: pd.DataFrame, params: DataParams) -> Iterator[DataFinding]:
    bad = table[table["problem"] != ""]
    if bad.empty:
        return
    share = len(bad) / len(table)
    named = [f"{path} {problem}" for path, problem in zip(bad["path"], bad["problem"], strict=True)]
    text = f"{len(bad):,} of {len(table):,} files are no images that can be used"
    if params.on_bad_image == "fail":
        text += ": repair or remove them, or set data.on_bad_image: quarantine."
        yield _finding("unusable", "error", text, named)
    elif share > params.max_bad_share:
        text += f", {share:.1%}; data.max_bad_share allows {params.max_bad_share:.1%}: repair or remove them."
        yield _finding("unusable", "error", text, named)
    else:
        yield _finding("unusable", "warning", f"{text}: they were left out.", named)


def _conflicting(usable: pd.DataFrame, class_names: tuple[str, ...]) -> Iterator[DataFinding]:
    labels = usable.groupby("sha256")["label"].nunique()
    conflicting = usable[usable["sha256"].isin(labels.index[labels > 1])].sort_values(["sha256", "path"])
    if len(conflicting):
        pairs = zip(conflicting["path"], conflicting["label"], strict=True)
        named = [f"{path} is {class_names[label]}" for path, label in pairs]
        text = f"{len(conflicting):,} files stand in several classes with the same content: at most one is right."
        yield _finding("conflicting labels", "warning", text, named)


def _leaking(usable: pd.DataFrame, is_given: bool, params: DataParams) -> Iterator[DataFinding]:
    severity: Literal["error", "warning"] = "error" if is_given and not params.allow_leakage else "warning"
    remedy = ": keep one split of each, or set data.allow_leakage: true." if severity == "error" else "."
    for column, kind in (("sha256", "content"), ("group", "group")):
        known = usable[usable[column] != ""]
        splits = known.groupby(column)["split"].nunique()
        leaking = known[known[column].isin(splits.index[splits > 1])].sort_values([column, "path"])
        if len(leaking):
            named = [f"{path} in {split}" for path, split in zip(leaking["path"], leaking["split"], strict=True)]
            text = f"{len(leaking):,} files have the same {kind} as one of another split, and the test sees it"
            yield _finding(f"leaking {kind}", severity, text + remedy, named)


def _duplicates(usable: pd.DataFrame) -> Iterator[DataFinding]:
    again = usable[usable.duplicated("sha256")]
    if len(again):
        text = f"{len(again):,} files have the content of another one; copies stay in one split."
        yield _finding("duplicates", "warning", text, again["path"].tolist())


def _classes(usable: pd.DataFrame, class_names: tuple[str, ...], is_given: bool) -> Iterator[DataFinding]:
    names = usable["label"].map(dict(enumerate(class_names)))
    counts = pd.crosstab(names, usable["split"]).reindex(list(class_names), fill_value=0)
    if is_given:
        for split in counts:
            for name in counts.index[counts[split] == 0]:
                text = f'class "{name}" has no image in {split}: every split needs every class.'
                yield _finding("missing class", "error", text, [])
    train = counts["train"] if "train" in counts else counts.sum(axis=1)
    few = [f"{name} ({count})" for name, count in train.items() if 0 < count < _FEW_IMAGES]
    if few:
        shown = ", ".join(few[:_MAX_PRINTED]) + (" and others" if len(few) > _MAX_PRINTED else "")
        yield _finding("few images", "warning", f"less than {_FEW_IMAGES} training images of {shown}.", [])
    if train.min() and train.max() / train.min() > _IMBALANCE:
        times = train.max() / train.min()
        text = f"{train.idxmax()} has {times:.0f} times the training images of {train.idxmin()}."
        yield _finding("imbalance", "warning", text, [])
    lower = [name.casefold() for name in class_names]
    alike = [name for name in class_names if lower.count(name.casefold()) > 1]
    if alike:
        yield _finding("alike classes", "warning", f"classes that differ in case alone: {', '.join(alike)}.", [])


def _sizes(usable: pd.DataFrame, image_size: int) -> Iterator[DataFinding]:
    small = usable[usable[["height", "width"]].min(axis=1) < image_size]
    if len(small):
        rows = zip(small["path"], small["height"], small["width"], strict=True)
        are_rare = len(small) < len(usable) / 2
        named = [f"{path} is {height} x {width}" for path, height, width in rows] if are_rare else []
        text = (
            f"{len(small):,} of {len(usable):,} images have a side of less than data.image_size ({image_size}) pixels "
            "and are enlarged."
        )
        yield _finding("small images", "warning", text, named)


def _finding(kind: str, severity: Literal["error", "warning"], text: str, files: list[str]) -> DataFinding:
    return DataFinding(
        kind=kind, severity=severity, count=len(files), text=text, files=tuple(map(printable, files[:_MAX_NAMED]))
    )
