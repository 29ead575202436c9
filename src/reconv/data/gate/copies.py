"""Images that are there more than once, as they are or nearly: in several classes, in several splits, or just so."""

from collections.abc import Iterator

import pandas as pd

from reconv.artifacts import DataFinding, Severity
from reconv.data.gate.examined import Examined, counted, finding


def copy_findings(examined: Examined, may_leak: bool) -> Iterator[DataFinding]:
    """Conflicting labels first, then what leaks from one split to another, then the rest."""
    yield from _conflicting(examined)
    yield from _leaking(examined, may_leak)
    images = examined.images
    again = images[images.duplicated("content")]
    if len(again):
        text = f"{counted(len(again))} with the pixels of another one, counting several times."
        yield finding("duplicates", "warning", text, again, is_pictured=False)
    alike = _alike(examined, "split", is_same=True)
    if len(alike):
        text = f"{counted(len(alike) // 2, 'pair')} of look-alikes in one split, as if saved anew."
        yield finding("look-alikes", "warning", text, alike)


def _conflicting(examined: Examined) -> Iterator[DataFinding]:
    rows = _of_several(examined.images, "content", "class")
    if len(rows):
        text = f"{len(rows):,} images stand in several classes with the same pixels: at most one is right."
        yield finding("conflicting labels", "warning", text, rows, "is " + rows["class"])
    rows = _alike(examined, "class", is_same=False)
    if len(rows):
        text = f"{counted(len(rows) // 2, 'pair')} of look-alikes of different classes: at most one is right."
        yield finding("conflicting look-alikes", "warning", text, rows, "is " + rows["class"])


def _leaking(examined: Examined, may_leak: bool) -> Iterator[DataFinding]:
    stops = examined.has_splits and not examined.is_published and not may_leak
    severity: Severity = "error" if stops else "warning"
    remedy = ": keep one split of each, or set data.allow_leakage: true." if stops else "."
    images = examined.images
    for column, kind in (("content", "pixels"), ("group", "group")):
        rows = _of_several(images[images[column] >= 0], column, "split")
        if len(rows):
            text = f"{len(rows):,} images have the same {kind} as one of another split, and the test sees it{remedy}"
            yield finding(f"leaking {kind}", severity, text, rows, "in " + rows["split"])
    rows = _alike(examined, "split", is_same=False)
    if len(rows):
        text = f"{counted(len(rows) // 2, 'pair')} of look-alikes in different splits{remedy}"
        yield finding("leaking look-alikes", severity, text, rows, "in " + rows["split"])


def _of_several(images: pd.DataFrame, column: str, what: str) -> pd.DataFrame:
    """Those whose value of `column` has several values of `what`, side by side."""
    differing = images.groupby(column)[what].nunique()
    rows: pd.DataFrame = images[images[column].isin(differing.index[differing > 1])]
    return rows.sort_values([column, "path"])


def _alike(examined: Examined, column: str, is_same: bool) -> pd.DataFrame:
    """The two of each pair that look alike and have, or have not, the same value of `column`, one after the other."""
    values = examined.images[column].to_numpy()
    first, second = examined.near.T
    chosen = examined.near[(values[first] == values[second]) == is_same]
    rows: pd.DataFrame = examined.images.iloc[chosen.ravel()]
    return rows
