"""Classes that are missing, rare, uneven or hard to tell by their names."""

from collections.abc import Iterator, Sequence
from unicodedata import normalize

import pandas as pd

from reconv.artifacts import DataFinding
from reconv.data.gate.examined import Examined, remark

_FEW_IMAGES = 20
_IMBALANCE = 10.0
_MAX_NAMED = 5


def class_findings(examined: Examined) -> Iterator[DataFinding]:
    names, images = list(examined.class_names), examined.images
    counts = pd.crosstab(images["class"], images["split"]).reindex(names, fill_value=0)
    if examined.has_splits:
        for split in counts:
            for name in counts.index[counts[split] == 0]:
                yield remark("missing class", "error", f'class "{name}" has no image in {split}: add some to it.')
    train = counts["train"] if "train" in counts else counts.sum(axis=1)
    few = [f"{name} ({count})" for name, count in train.items() if 0 < count < _FEW_IMAGES]
    if few:
        yield remark("few images", "warning", f"less than {_FEW_IMAGES} training images of {_some(few)}.")
    if train.min() and train.max() / train.min() > _IMBALANCE:
        times = train.max() / train.min()
        text = f"{train.idxmax()} has {times:.0f} times the training images of {train.idxmin()}."
        yield remark("imbalance", "warning", text)
    if examined.alike_classes:
        text = (
            f"many images look alike in {_some(examined.alike_classes)}, as with a camera that stands still: they are "
            "not taken for copies. If they are of one series, name it by data.group."
        )
        yield remark("classes of look-alikes", "warning", text)
    plain = [normalize("NFKC", name).casefold().strip() for name in names]
    alike = [name for name, other in zip(names, plain, strict=True) if plain.count(other) > 1]
    if alike:
        text = f"classes that differ in case, blanks or the way of writing a letter alone: {', '.join(alike)}."
        yield remark("alike classes", "warning", text)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_NAMED]) + (" and others" if len(names) > _MAX_NAMED else "")
