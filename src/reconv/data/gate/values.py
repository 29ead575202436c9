"""Which values of images with more than 8 bits become black and white."""

import numpy as np
from numpy.typing import NDArray

from reconv.artifacts import DataFinding
from reconv.data.gate.examined import counted, remark
from reconv.data.value_range import ValueRange


def of_values(extremes_N2: NDArray[np.int64], value_range: ValueRange) -> tuple[DataFinding, ...]:
    """Report the range, and how many images have values beyond it; nothing where no image has more than 8 bits."""
    if not len(extremes_N2):
        return ()
    black, white = value_range
    text = f"{counted(len(extremes_N2))} with more than 8 bits: {black:,} becomes black, {white:,} white."
    if beyond := int(((extremes_N2[:, 0] < black) | (extremes_N2[:, 1] > white)).sum()):
        text += f" Values beyond are clipped, as in {counted(beyond)}."
    return (remark("value range", "warning", text),)
