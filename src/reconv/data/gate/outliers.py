"""Images unlike the rest: in size, in colour, or with nothing to see."""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from reconv.artifacts import DataFinding, Severity
from reconv.data.gate.examined import MAX_SEEN_THROUGH, Examined, counted, finding, remark

BLANK = 1.0
"""An image of less contrast has one colour."""
_FAR = 6.0  # times the median distance from the median; a normal distribution has 1 of 19,000 beyond
_RARE = 0.05  # of all images; what is more frequent is a kind of its own, not an outlier
_COLOURS = ("brightness", "contrast", "colourfulness")
_LEAST_FAR = {"size": 1.0, "shape": 0.5, "brightness": 40.0, "contrast": 30.0, "colourfulness": 40.0}
"""Nearer is ordinary, however alike the rest is: half or twice as large, 1.4 times as wide, of values up to 255."""


def blank_findings(examined: Examined) -> Iterator[DataFinding]:
    """Yield the images of one colour: an error where a class of them cannot be split."""
    blank = examined.images[examined.images["contrast"] < BLANK]
    if blank.empty:
        return
    text = f"{counted(len(blank))} of a single colour"
    seen_on = blank["seen_on"][blank["seen_on"] != ""]
    if len(seen_on):
        ground = seen_on.value_counts().index[0]
        looked_at = "them" if len(blank) <= MAX_SEEN_THROUGH else f"the {MAX_SEEN_THROUGH} that were looked at"
        text += (
            f": the transparency of {len(seen_on):,} of {looked_at} holds a picture; set data.transparency: {ground}"
        )
    too_small = {name for classes in examined.too_small.values() for name in classes}
    severity: Severity = "error" if too_small & set(blank["class"]) else "warning"
    yield finding("blank images", severity, f"{text}.", blank)


def outlier_findings(examined: Examined, image_size: int) -> Iterator[DataFinding]:
    images = examined.images
    blank = images[images["contrast"] < BLANK]
    if not examined.is_published:
        yield from _small(images, image_size)
        height, width = (pd.Series(np.log2(images[side].to_numpy()), images.index) for side in ("height", "width"))
        far = _far({"size": (height + width) / 2, "shape": width - height})
        yield from _unusual(images, far, "size", _sizes(images.loc[far]))
    shown = images.drop(blank.index)
    far = _far({name: shown[name] for name in _COLOURS})
    yield from _unusual(shown, far, "colour", _colours(shown.loc[far]))
    grey = shown[shown["is_grey"]]
    if 0 < len(grey) <= _RARE * len(shown):
        yield finding(
            "grey images", "warning", f"{len(grey):,} of {len(shown):,} images without colours, unlike the rest.", grey
        )


def _small(images: pd.DataFrame, image_size: int) -> Iterator[DataFinding]:
    small = images[images[["height", "width"]].min(axis=1) < image_size]
    text = (
        f"{len(small):,} of {len(images):,} images with a side of less than data.image_size ({image_size}) pixels, "
        "to be enlarged."
    )
    if len(small) >= len(images) / 2:
        yield remark("small images", "warning", text)
    elif len(small):
        yield finding("small images", "warning", text, small, _sizes(small), is_pictured=False)


def _unusual(images: pd.DataFrame, far: pd.Index, what: str, notes: Iterable[str]) -> Iterator[DataFinding]:
    if 0 < len(far) <= _RARE * len(images):
        text = f"{counted(len(far))} of another {what} than the rest."
        yield finding(f"unusual {what}", "warning", text, images.loc[far], notes)


def _far(values: dict[str, "pd.Series[float]"]) -> pd.Index:
    """Those far from the median in one of the `values`, the farthest first."""
    how_far = pd.concat([_distance(of_all, _LEAST_FAR[name]) for name, of_all in values.items()], axis=1).max(axis=1)
    return how_far[how_far > 1].sort_values(ascending=False, kind="stable").index


def _distance(values: "pd.Series[float]", least: float) -> "pd.Series[float]":
    """From the median, in units of what is far."""
    from_median = (values - values.median()).abs()
    return from_median / max(_FAR * float(from_median.median()), least)


def _sizes(images: pd.DataFrame) -> Iterator[str]:
    return (f"is {height} x {width}" for height, width in zip(images["height"], images["width"], strict=True))


def _colours(images: pd.DataFrame) -> Iterator[str]:
    values = zip(*(images[name] for name in _COLOURS), strict=True)
    return (", ".join(f"{name} {value:.0f}" for name, value in zip(_COLOURS, row, strict=True)) for row in values)
