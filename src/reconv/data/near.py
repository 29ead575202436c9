"""Which images look like another one: as if it had been saved anew. Called by packing.

N images, P pairs.
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from reconv.data.shards import Indexable

Pairs = NDArray[np.int64]
"""(P, 2): positions of two images, the smaller first."""

_MAX_DISTANCE = 8  # bits of a perceptual hash
_BLOCKS = (11, 11, 11, 11, 10, 10)  # bits, together 64
_NEIGHBOURS = 16
_LEAST_CORRELATION = 0.99
_BY_NATURE = 0.2  # of the images of a class
_AT_ONCE = 256  # pairs


def near_pairs(hashes: NDArray[np.uint64], images: Indexable, rows: NDArray[np.int64]) -> Pairs:
    """Pairs among `images[rows]` (N) that differ as a picture does from itself, saved anew: their hashes are close, and
    their pixels correlate by at least 0.99, whatever brightness and contrast. Images of a single colour are like none.

    Of drawings saved as JPEG of quality 60, whose plain areas leave many bits of the hash to chance, a third differs in
    more than 3 bits from itself.
    """
    candidates = close_hashes(hashes)
    chunks = (rows[candidates[at : at + _AT_ONCE]] for at in range(0, len(candidates), _AT_ONCE))
    is_near = [_correlations(images, chunk) for chunk in chunks]
    return candidates[np.concatenate([np.empty(0), *is_near]) >= _LEAST_CORRELATION]


def taken_for_copies(pairs: Pairs, labels: NDArray[np.int64]) -> tuple[Pairs, list[int]]:
    """Those pairs neither of whose images is of a class that looks like this: in which more than a fifth of the images
    look like another one, as with a camera that stands still. And these classes."""
    involved = np.bincount(labels[np.unique(pairs)], minlength=1)
    alike = np.flatnonzero(involved > _BY_NATURE * np.bincount(labels, minlength=len(involved))[: len(involved)])
    return pairs[~np.isin(labels[pairs], alike).any(axis=1)], alike.tolist()


def close_hashes(hashes: NDArray[np.uint64]) -> Pairs:
    """Pairs that differ in few of 64 bits, sorted: all of up to 3 bits, some of up to 8.

    Of six blocks of bits, three are equal in a pair that differs in 3: sorted by each three of them, it stands side by
    side (Manku, Jain and Sarma, "Detecting near-duplicates for web crawling", 2007). Where more than 16 have the three
    in common, each is compared with the 16 after it, so that time grows with N alone; who is like many is still found
    to be like some.
    """
    found = [np.empty((0, 2), np.int64)]
    ordered = np.argsort(hashes, kind="stable")
    for mask in _masks():
        order = ordered[np.argsort(hashes[ordered] & mask, kind="stable")]
        sorted_hashes = hashes[order]
        keys = sorted_hashes & mask
        for step in range(1, _NEIGHBOURS + 1):
            same_key = np.flatnonzero(keys[step:] == keys[:-step])
            if not len(same_key):
                break
            distance = np.bitwise_count(sorted_hashes[same_key] ^ sorted_hashes[same_key + step])
            close = same_key[distance <= _MAX_DISTANCE]
            found.append(np.stack([order[close], order[close + step]], axis=1))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _masks() -> list[np.uint64]:
    """Of each three blocks."""
    starts = np.cumsum((0, *_BLOCKS))[:-1].tolist()
    blocks = [((1 << size) - 1) << start for size, start in zip(_BLOCKS, starts, strict=True)]
    return [np.uint64(a | b | c) for a, b, c in combinations(blocks, 3)]


def _correlations(images: Indexable, pairs: Pairs) -> NDArray[np.float64]:
    """(P,): of the two images of each pair."""
    first, second = (_standardised(images[pairs[:, side]]) for side in (0, 1))
    correlations: NDArray[np.float64] = np.einsum("pi,pi->p", first, second)
    return correlations


def _standardised(images_NHWC: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(N, values), of mean 0 and length 1; zeros where an image has one colour."""
    values = images_NHWC.reshape(len(images_NHWC), -1).astype(np.float64)
    values -= values.mean(axis=1, keepdims=True)
    length = np.sqrt(np.einsum("ni,ni->n", values, values))[:, None]
    standardised: NDArray[np.float64] = np.divide(values, length, out=np.zeros_like(values), where=length > 0)
    return standardised
