"""Images as the gate sees them, made from what a test says of some."""

from typing import Any

import numpy as np
import pandas as pd

from reconv.artifacts import DataFinding
from reconv.data.gate import check, refuse
from reconv.data.gate.examined import Examined
from reconv.params import DataParams

CLASSES = ("cat", "dog")


def examined(
    count: int = 120,
    has_splits: bool = False,
    is_published: bool = False,
    near: tuple[tuple[int, int], ...] = (),
    problems: dict[str, str] | None = None,
    **changes: dict[int, Any],
) -> Examined:
    """Images in turn of both classes, without anything to say of them; `changes` are column={row: value}."""
    paths = [f"{row:03d}.png" for row in range(count)]
    images = pd.DataFrame(
        {
            "path": paths,
            "class": [CLASSES[row % 2] for row in range(count)],
            "split": ["train" if row < 0.7 * count else "validation" for row in range(count)],
            "content": np.arange(count),
            "group": -1,
            "height": 90,
            "width": 100,
            "is_grey": False,
            "seen_on": "",
            "brightness": np.linspace(100, 110, count),
            "contrast": np.linspace(50, 60, count),
            "colourfulness": np.linspace(20, 30, count),
        }
    )
    for column, values in changes.items():
        for row, value in values.items():
            images.loc[row, column] = value
    images["index"] = images.groupby("split").cumcount()
    problems = problems or {}
    files = pd.DataFrame({"path": [*paths, *problems], "problem": [*[""] * count, *problems.values()]})
    pairs = np.array(near, np.int64).reshape(-1, 2)
    return Examined(files, images, pairs, (), CLASSES, has_splits, is_published)


def found(what: Examined, data: DataParams) -> dict[str, DataFinding]:
    """By kind. Raises DataError where a run would stop."""
    findings = check(what, data)
    refuse(findings)
    return {one.kind: one for one in findings}
