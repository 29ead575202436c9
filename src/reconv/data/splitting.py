"""Which images are for validation and for testing. Called by packing.

N images, U units: images that have to stay together.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Units = NDArray[np.int64]
Ranks = NDArray[np.uint64]


def units_of(keys: Sequence[NDArray[np.int64]], pairs: NDArray[np.int64]) -> Units:
    """(N,): the same number for images that have to stay together, be it by way of others: they share the value of one
    of `keys` (each (N,); -1 is no value), or are one of `pairs` (P, 2)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    num_images = len(keys[0])
    rows, columns, width = [pairs[:, 0]], [pairs[:, 1]], num_images
    for key in keys:
        has_value = np.flatnonzero(key >= 0)
        rows.append(has_value)
        columns.append(width + key[has_value])
        width += int(key.max(initial=-1)) + 1
    row, column = np.concatenate(rows), np.concatenate(columns)
    links = coo_array((np.ones(len(row), bool), (row, column)), shape=(width, width))
    _, component = connected_components(links, directed=False)
    units: Units = np.unique(component[:num_images], return_inverse=True)[1].astype(np.int64)
    return units


def drawn_ranks(labels: Labels, seed: int) -> Ranks:
    """(N,): the places of each class's images in an order drawn from the seed."""
    rng = np.random.default_rng(seed)
    ranks = np.empty(len(labels), np.uint64)
    for label in range(int(labels.max(initial=-1)) + 1):
        members = np.flatnonzero(labels == label)
        ranks[rng.permutation(members)] = np.arange(len(members))
    return ranks


def ranks_by_content(sums: NDArray[np.bytes_], seed: int) -> Ranks:
    """(N,), drawn from the seed and each image's own SHA-256: others that come or go change nothing about it."""
    key = seed.to_bytes(8, "little")
    digests = b"".join(blake2b(one, digest_size=8, key=key).digest() for one in sums)
    return np.frombuffer(digests, "<u8")


def units_per_class(labels: Labels, units: Units, num_classes: int) -> NDArray[np.int64]:
    """Return (K,): the units of each class, by their first image. A class with fewer than two cannot be split."""
    _, first = np.unique(units, return_index=True)
    return np.bincount(labels[first], minlength=num_classes).astype(np.int64)


def stratified_choice(labels: Labels, share: float, ranks: Ranks, units: Units | None = None) -> NDArray[np.bool_]:
    """A mask (N,) that chooses `share` of each class, those of the lowest ranks, at least one unit and never all: none
    of a class of one unit. A unit has the lowest rank of its images and counts as of the class of its first; without
    `units` each image is one.
    """
    units = np.arange(len(labels)) if units is None else units
    _, first = np.unique(units, return_index=True)
    sizes = np.bincount(units)
    lowest = np.full(len(sizes), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(lowest, units, ranks)
    chosen = np.zeros(len(sizes), bool)
    for label in range(int(labels.max(initial=-1)) + 1):
        members = np.flatnonzero(labels[first] == label)
        if len(members) < 2:
            continue
        ordered = members[np.argsort(lowest[members], kind="stable")]
        wanted = max(1, round(share * int(sizes[ordered].sum())))
        enough = int(np.searchsorted(sizes[ordered].cumsum(), wanted)) + 1
        chosen[ordered[: min(enough, len(members) - 1)]] = True
    mask: NDArray[np.bool_] = chosen[units]
    return mask
