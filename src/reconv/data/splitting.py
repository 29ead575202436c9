"""Which images are for validation and for testing. Called by packing.

N images.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reconv.errors import DataError

Labels = NDArray[np.int64]
Units = NDArray[np.int64]


def units_of(*keys: Sequence[str]) -> Units:
    """(N,): the same number for images that have to stay together, since they share a value of one of `keys` (each of
    length N; empty is no value), be it by way of others."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    num_images = len(keys[0])
    rows, columns, width = [], [], 0
    for values in keys:
        _, number = np.unique(np.asarray(values, dtype=object), return_inverse=True)
        has_value = np.flatnonzero([bool(value) for value in values])
        rows.append(has_value)
        columns.append(num_images + width + number[has_value])
        width += len(values)
    row, column = np.concatenate(rows), np.concatenate(columns)
    size = num_images + width
    links = coo_array((np.ones(len(row), bool), (row, column)), shape=(size, size))
    _, component = connected_components(links, directed=False)
    units: Units = np.unique(component[:num_images], return_inverse=True)[1].astype(np.int64)
    return units


def stratified_choice(
    labels: Labels, share: float, seed: int, class_names: tuple[str, ...], key: str, units: Units | None = None
) -> NDArray[np.bool_]:
    """A mask (N,) that chooses `share` of each class, at least one unit of it and never all. A unit stays together and
    counts as of the class of its first image; without `units` each image is one.

    Raises:
        DataError: a class has fewer than two units.
    """
    units = np.arange(len(labels)) if units is None else units
    _, first = np.unique(units, return_index=True)
    sizes = np.bincount(units)
    chosen = np.zeros(len(sizes), bool)
    rng = np.random.default_rng(seed)
    for label, class_name in enumerate(class_names):
        members = np.sort(first[labels[first] == label])
        if len(members) < 2:
            what = "images" if len(sizes) == len(labels) else "images (or groups of images that stay together)"
            raise DataError(
                f'class "{class_name}" has {len(members)} {what} left, must have at least 2 to be split by {key} '
                f"({share}): add images or remove the class."
            )
        shuffled = units[rng.permutation(members)]
        wanted = max(1, round(share * int(sizes[shuffled].sum())))
        enough = int(np.searchsorted(sizes[shuffled].cumsum(), wanted)) + 1
        chosen[shuffled[: min(enough, len(members) - 1)]] = True
    mask: NDArray[np.bool_] = chosen[units]
    return mask
