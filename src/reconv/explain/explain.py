"""A trained CNN and the test split -> what its first filters look for, where it errs most surely. Called by `explain`.

N images, H height, W width, C channels, K classes; O filters, k kernel size.
"""

import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor, nn

from reconv.artifacts import Explanation, FirstFilter, Mistake
from reconv.data.arrays import PreparedData, Split
from reconv.explain.filters import COLOUR, CORNER, EDGE, OTHER, correlation, describe_filters, edge_responses, sobel
from reconv.models.classifier import ImageClassifier, load_classifier

_NUM_COMPARED, _NUM_SHOWN, _NUM_MISTAKES = 256, 4, 12
_MAX_SIDE = 64
Pictures = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Explained:
    explanation: Explanation
    pictures: Pictures
    """filters (O, C, k, k); images (4, H, W, C), edges and sobel (4, H, W) of the same; mistakes (12, H, W, C). Images
    of at most 64 pixels a side."""


def explain(folder: Path, predictions: pd.DataFrame, temperature: float, data: PreparedData) -> Explained:
    """`folder` holds the classifier whose answers to all test images `predictions` (one seed's) are."""
    classifier = load_classifier(folder)
    test, names = data.test, data.manifest.class_names
    weights_OCkk = first_filters(classifier)
    some = torch.from_numpy(test.images[: min(_NUM_COMPARED, len(test))])
    scaled_NCHW = (some.permute(0, 3, 1, 2) - classifier.mean) / classifier.std
    kinds = describe_filters(weights_OCkk) if len(weights_OCkk) else []
    edges_NHW = edge_responses(weights_OCkk, kinds, scaled_NCHW) if kinds else torch.zeros_like(scaled_NCHW[:, 0])
    sobel_NHW = sobel(scaled_NCHW)
    agreement = correlation(edges_NHW, sobel_NHW)
    mistakes, wrong = _surest_mistakes(predictions, temperature, test, names)
    shown = _one_of_each_class(test, _NUM_SHOWN, len(some))
    return Explained(
        explanation=Explanation(
            filters=tuple(FirstFilter.model_validate(dataclasses.asdict(kind)) for kind in kinds),
            sobel_correlation=agreement,
            mistakes=mistakes,
            text=_in_words(Counter(kind.label for kind in kinds), agreement, scaled_NCHW.shape[1]),
        ),
        pictures={
            "filters": weights_OCkk.numpy(),
            "images": _shrunk(test.images[shown]),
            "edges": edges_NHW[shown].numpy(),
            "sobel": sobel_NHW[shown].numpy(),
            "mistakes": _shrunk(test.images[wrong]),
        },
    )


def first_filters(classifier: ImageClassifier) -> Tensor:
    """(O, C, k, k); none where the first layer is no convolution, or is smaller than 2 x 2."""
    for layer in classifier.network.modules():
        if isinstance(layer, nn.Conv2d):
            same_channels = layer.in_channels == classifier.arguments["image_shape"][2]
            if same_channels and layer.kernel_size[0] > 1:
                return layer.weight.detach()
            break
    return torch.zeros(0, 1, 1, 1)


def _one_of_each_class(test: Split, count: int, among: int) -> NDArray[np.int64]:
    """Indices of the first images of different classes, then of any."""
    _, first = np.unique(test.labels[:among], return_index=True)
    rest = np.setdiff1d(np.arange(among), first)
    return np.concatenate([np.sort(first), rest])[:count]


def _surest_mistakes(
    predictions: pd.DataFrame, temperature: float, test: Split, names: tuple[str, ...]
) -> tuple[tuple[Mistake, ...], NDArray[np.int64]]:
    """Wrong answers, the most confident first, and the indices of their images."""
    ordered = predictions.sort_values("image")
    probabilities_NK = softmax(ordered.filter(like="logit_").to_numpy() / temperature, axis=1)
    answers_N, sureness_N = probabilities_NK.argmax(axis=1), probabilities_NK.max(axis=1)
    wrong = np.flatnonzero(answers_N != test.labels)
    wrong = wrong[np.argsort(-sureness_N[wrong], kind="stable")][:_NUM_MISTAKES]
    return (
        tuple(
            Mistake(
                image=int(index),
                actual=names[test.labels[index]],
                predicted=names[answers_N[index]],
                confidence=float(sureness_N[index]),
            )
            for index in wrong
        ),
        wrong,
    )


def _shrunk(images_NHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    side = max(images_NHWC.shape[1:3])
    if side <= _MAX_SIDE or not len(images_NHWC):
        return np.ascontiguousarray(images_NHWC)
    images_NCHW = torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).float()
    small = nn.functional.interpolate(images_NCHW, scale_factor=_MAX_SIDE / side, mode="area")
    shrunk: NDArray[np.uint8] = small.round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return shrunk


def _in_words(counts: Counter[str], agreement: float, channels: int) -> str:
    total = counts.total()
    if not total:
        return "The first layer has no filters that could be looked at."
    names = {
        EDGE: "edges",
        CORNER: "corners",
        COLOUR: "even colours" if channels > 1 else "even brightness",
        OTHER: "none of these",
    }
    found = ", ".join(f"{counts[label]} to {name}" for label, name in names.items() if counts[label])
    text = f"What its {total} first filters respond to most, of edges, corners and even fields: {found}."
    if counts[EDGE]:
        text += f" What the edge filters see together correlates with a Sobel operator's edges by {agreement:.2f}."
    return text
