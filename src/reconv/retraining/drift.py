"""Are the new images still like those that the champion was trained on? Class mix, image statistics, its confidence.

With many images the smallest difference is significant, so that a property has drifted only if the difference is large
as well. The tests are scipy's, the correction statsmodels'.

N new images, K classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, ks_2samp
from statsmodels.stats.multitest import multipletests

from reconv.artifacts import Manifest
from reconv.data.arrays import PreparedData
from reconv.data.shards import AnyImages
from reconv.registry.reference import Reference, content_hashes, statistics_of
from reconv.retraining.record import Drift
from reconv.serving.answering import Answering

_SIGNIFICANT = 0.01
"""Of the p values, corrected for their number (Holm, Scandinavian Journal of Statistics 6, 1979)."""
_LARGE = 0.15
"""Of the effect: the largest distance between two cumulative distributions (Kolmogorov and Smirnov), or half the sum of
the differences of shares (total variation): a seventh of the images would have to be others."""
_SAMPLE = 10_000
_FEW_EXPECTED = 5  # images of a class, below which the chi-squared distribution does not hold (Cochran 1954)
_WORDS = {
    "brightness": "mean brightness (0 to 255)",
    "contrast": "contrast (standard deviation, 0 to 255)",
    "colourfulness": "colourfulness (0 to 255)",
    "confidence": "the champion's confidence",
}


@dataclass(frozen=True)
class NewImages:
    images: NDArray[np.uint8]
    """(N, H, W, C), at most 10,000, evenly spaced among all that are new."""
    labels: NDArray[np.int64]
    """(N,) of the manifest's classes."""
    count: int
    """All that are new."""


@dataclass(frozen=True)
class _Test:
    name: str
    effect: float
    p_value: float
    text: str


def new_images(data: PreparedData, reference: Reference) -> NewImages:
    """Those of `data` that the champion was neither trained on nor compared by."""
    known = np.concatenate([reference.development, reference.test])
    images, labels, count = [], [], 0
    for split in (data.development, data.test):
        fresh = np.flatnonzero(~np.isin(content_hashes(split.images), known))
        count += len(fresh)
        chosen = _spaced(fresh)
        images.append(_rows(split.images, chosen))
        labels.append(split.labels[chosen])
    together, of_them = np.concatenate(images), np.concatenate(labels)
    chosen = _spaced(np.arange(len(together)))
    return NewImages(together[chosen], of_them[chosen], count)


def drift(fresh: NewImages, manifest: Manifest, reference: Reference, champion: Answering) -> tuple[Drift, ...]:
    """One line per property, the largest effect first; nothing if there are no new images.

    The confidence is only looked at where the champion takes such images.
    """
    if not len(fresh.images):
        return ()
    tests = list(_tests(fresh, manifest, reference, champion))
    adjusted = multipletests([test.p_value for test in tests], method="holm")[1]
    found = [
        Drift(
            name=test.name,
            effect=test.effect,
            adjusted_p_value=float(p_value),
            has_drifted=bool(p_value < _SIGNIFICANT and test.effect > _LARGE),
            text=test.text,
        )
        for test, p_value in zip(tests, adjusted, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: -one.effect))


def _tests(fresh: NewImages, manifest: Manifest, reference: Reference, champion: Answering) -> Iterator[_Test]:
    if champion.class_names == manifest.class_names:
        yield _class_mix(fresh.labels, manifest.class_names, reference.class_counts)
    statistics = statistics_of(fresh.images, np.arange(len(fresh.images)))
    if champion.image_shape != manifest.image_shape:
        return
    for name, values in statistics.items():
        yield _compared(name, values, getattr(reference, name))
    confidence = champion.probabilities(fresh.images).max(axis=1)
    yield _compared("confidence", confidence, reference.confidence)


def _compared(name: str, new: NDArray[np.floating], old: NDArray[np.floating]) -> _Test:
    found = ks_2samp(new, old)
    text = f"{_WORDS[name]} {np.median(new):.3g} instead of {np.median(old):.3g} (medians)"
    return _Test(name, float(found.statistic), float(found.pvalue), text)


def _class_mix(labels: NDArray[np.int64], class_names: tuple[str, ...], old_K: NDArray[np.int64]) -> _Test:
    new_K = np.bincount(labels, minlength=len(class_names))
    share_K, before_K = new_K / new_K.sum(), old_K / old_K.sum()
    effect = float(np.abs(share_K - before_K).sum() / 2)
    most = int(np.abs(share_K - before_K).argmax())
    text = f'classes: "{class_names[most]}" {share_K[most]:.1%} instead of {before_K[most]:.1%}, and others'
    # Rare classes are counted together, where their own counts say little.
    rare_K = before_K * new_K.sum() < _FEW_EXPECTED
    table = np.array([_with_rare_together(counts, rare_K) for counts in (new_K, old_K)])
    table = table[:, table.sum(axis=0) > 0]
    p_value = float(chi2_contingency(table).pvalue) if table.shape[1] > 1 else 1.0
    return _Test("class_mix", effect, p_value, text)


def _with_rare_together(counts_K: NDArray[np.int64], rare_K: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.append(counts_K[~rare_K], counts_K[rare_K].sum())


def _spaced(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    chosen = np.linspace(0, len(positions) - 1, min(len(positions), _SAMPLE)).astype(np.int64)
    return positions[chosen]


def _rows(images: AnyImages, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = np.asarray(images[rows])
    return found
