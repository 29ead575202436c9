"""A trained CNN and the test split -> what it looks for, where it looks and where it errs. Called by `explain`.

N images, H height, W width, C channels; O filters, k kernel size.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reconv.artifacts import Explanation, FirstFilter, Layer, Suspect
from reconv.data.arrays import PreparedData, Split
from reconv.data.batches import Resident
from reconv.explain.answers import answers_in, surest, surest_of_each_class
from reconv.explain.filters import COLOUR, CORNER, EDGE, OTHER, correlation, describe_filters, edge_responses, sobel
from reconv.explain.gradcam import grad_cam, last_map
from reconv.explain.patches import Excitement, excitements, patches, share_by_chance, share_of_one_class
from reconv.models.classifier import ImageClassifier, load_classifier

_NUM_COMPARED, _NUM_SHOWN, _NUM_MISTAKES, _NUM_CLASSES = 256, 4, 12, 10
_NUM_AT_ONCE = 16
"""Of images whose first or all feature maps are in memory: of ResNet-50's at 224 x 224, 86 MB each."""
_NUM_EXCITING, _NUM_CHANNELS, _NUM_PATCHES = 9, 6, 6
_MAX_SIDE, _MAX_PATCH_SIDE = 64, 32
_MAX_SEARCHED_PIXELS = 2**25
"""Of the images whose patches are compared: 42,799 of 28 x 28, 668 of 224 x 224."""
_SHOWS = 0.05
"""So much more of the images of one class, and it is said."""
_NOWHERE = (
    "It has no convolution but the one that cuts the image into patches, so that there are no pictures of its filters "
    "and of where it looks."
)
Pictures = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Explained:
    explanation: Explanation
    pictures: Pictures
    """filters (O, C, k, k); images (4, H, W, C), edges and sobel (4, H, W) of the same; patches-1, patches-2, ... of
    each block (channels, patches, side, side, C); answers (A, H, W, C) and their cams (A, H, W), 0 to 1; mistakes
    and suspects (12, H, W, C). Images of at most 64 pixels a side, patches of 32."""


def explain(
    folder: Path, predictions: pd.DataFrame, suspects: pd.DataFrame, temperature: float, data: PreparedData
) -> Explained:
    """`folder` holds the classifier whose answers to all test images `predictions` (one seed's) are; `suspects` are
    images whose label is probably wrong, as `evaluate` writes them."""
    classifier = load_classifier(folder)
    test, names = data.test, data.manifest.class_names
    answers = answers_in(predictions, temperature)
    mistakes = surest(answers, ~answers.is_right, _NUM_MISTAKES)
    kinds, agreement, pictures = _first_layer(classifier, test)
    layers, parts = _parts(classifier, test, data.manifest.mean)
    target = last_map(classifier.network)
    looked_at = surest_of_each_class(answers, _NUM_CLASSES if target is not None else 0)
    num_exciting = min(_NUM_EXCITING, len(test))
    chance = share_by_chance(test.labels, num_exciting)
    return Explained(
        explanation=Explanation(
            filters=kinds,
            sobel_correlation=agreement,
            layers=layers,
            share_by_chance=chance,
            answers=answers.described(looked_at, names),
            mistakes=answers.described(mistakes, names),
            suspects=tuple(
                Suspect(file=row["file"], label=row["label"], suggested=row["suggested"], confidence=row["confidence"])
                for row in suspects[:_NUM_MISTAKES].to_dict("records")
            ),
            num_suspects=len(suspects),
            text=" ".join(
                [
                    _filters_in_words(kinds, agreement, classifier.input_shape[2]),
                    _layers_in_words(layers, num_exciting, chance),
                    "" if target is not None else _NOWHERE,
                ]
            ).strip(),
        ),
        pictures={
            **pictures,
            **parts,
            "answers": _shrunk(test.images[looked_at], _MAX_SIDE),
            "cams": _cams(classifier, test, looked_at, answers.predicted[looked_at]),
            "mistakes": _shrunk(test.images[mistakes], _MAX_SIDE),
            "suspects": _shrunk(_images_of(suspects[:_NUM_MISTAKES], data), _MAX_SIDE),
        },
    )


def _images_of(rows: pd.DataFrame, data: PreparedData) -> NDArray[np.uint8]:
    """(N, H, W, C): by split and index."""
    splits = {"validation": data.validation, "test": data.test}
    pairs = zip(rows["split"], rows["index"], strict=True)
    found = [splits[split].images[index : index + 1] for split, index in pairs]
    return np.concatenate([data.test.images[:0], *found])


def _first_layer(classifier: ImageClassifier, test: Split) -> tuple[tuple[FirstFilter, ...], float, Pictures]:
    """What the first filters are, and the correlation of what the edges among them see with Sobel's."""
    weights_OCkk = first_filters(classifier)
    some = torch.from_numpy(test.images[: min(_NUM_COMPARED, len(test))])
    seen_NCHW = classifier.inputs(some).contiguous()
    kinds = describe_filters(weights_OCkk) if len(weights_OCkk) else []
    edges_NHW = torch.cat([edge_responses(weights_OCkk, kinds, part) for part in torch.split(seen_NCHW, _NUM_AT_ONCE)])
    sobel_NHW = sobel(seen_NCHW)
    shown = _one_of_each_class(test, _NUM_SHOWN, len(some))
    return (
        tuple(FirstFilter.model_validate(dataclasses.asdict(kind)) for kind in kinds),
        correlation(edges_NHW, sobel_NHW),
        {
            "filters": weights_OCkk.numpy(),
            "images": _shrunk(test.images[shown], _MAX_SIDE),
            "edges": _shrunk_map(edges_NHW[shown]),
            "sobel": _shrunk_map(sobel_NHW[shown]),
        },
    )


def first_filters(classifier: ImageClassifier) -> Tensor:
    """(O, C, k, k); none where the first layer is no convolution, is smaller than 2 x 2, or cuts the image into a
    transformer's patches."""
    for layer in classifier.network.modules():
        if isinstance(layer, nn.Conv2d):
            same_channels = layer.in_channels == classifier.input_shape[2]
            if same_channels and layer.kernel_size[0] > 1 and last_map(classifier.network) is not None:
                return layer.weight.detach()
            break
    return torch.zeros(0, 1, 1, 1)


def _parts(classifier: ImageClassifier, test: Split, mean: tuple[float, ...]) -> tuple[tuple[Layer, ...], Pictures]:
    """What excites the channels of each block, and pictures of it for some channels, evenly spaced."""
    height, width = test.images.shape[1:3]
    most = max(1, _MAX_SEARCHED_PIXELS // (height * width))
    images_NHWC = test.images[:most]
    searched = Split(images_NHWC, test.labels[:most])
    found = excitements(classifier, Resident(searched, torch.device("cpu")), _NUM_EXCITING)
    background = np.round(mean).astype(np.uint8)
    layers = []
    pictures: Pictures = {}
    for number, layer in enumerate((one for one in found if len(one.images)), start=1):
        layers.append(
            Layer(
                sees=layer.field.size,
                num_channels=len(layer.images),
                share_of_one_class=share_of_one_class(searched.labels[layer.images]),
            )
        )
        pictures[f"patches-{number}"] = _some_patches(layer, images_NHWC, background)
    return tuple(layers), pictures


def _some_patches(
    layer: Excitement, images_NHWC: NDArray[np.uint8], background: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    num_channels = len(layer.images)
    channels = np.unique(np.linspace(0, num_channels - 1, _NUM_CHANNELS).round().astype(int))
    shown = Excitement(layer.field, layer.images[channels, :_NUM_PATCHES], layer.places[channels, :_NUM_PATCHES])
    seen_CPppC = patches(shown, images_NHWC, background)
    shrunk = _shrunk(seen_CPppC.reshape(-1, *seen_CPppC.shape[2:]), _MAX_PATCH_SIDE)
    return shrunk.reshape(*seen_CPppC.shape[:2], *shrunk.shape[1:])


def _cams(
    classifier: ImageClassifier, test: Split, chosen: NDArray[np.int64], answers: NDArray[np.int64]
) -> NDArray[np.float32]:
    shown = [torch.split(torch.from_numpy(of_all), _NUM_AT_ONCE) for of_all in (test.images[chosen], answers)]
    return _shrunk_map(torch.cat([grad_cam(classifier, *part) for part in zip(*shown, strict=True)]))


def _shrunk_map(map_NHW: Tensor) -> NDArray[np.float32]:
    side = max(map_NHW.shape[1:])
    if side > _MAX_SIDE and len(map_NHW):
        map_NHW = nn.functional.interpolate(map_NHW[:, None], scale_factor=_MAX_SIDE / side, mode="area")[:, 0]
    shrunk: NDArray[np.float32] = map_NHW.numpy()
    return shrunk


def _one_of_each_class(test: Split, count: int, among: int) -> NDArray[np.int64]:
    """Indices of the first images of different classes, then of any."""
    _, first = np.unique(test.labels[:among], return_index=True)
    rest = np.setdiff1d(np.arange(among), first)
    return np.concatenate([np.sort(first), rest])[:count]


def _shrunk(images_NHWC: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    side = max(images_NHWC.shape[1:3])
    if side <= most or not len(images_NHWC):
        return np.ascontiguousarray(images_NHWC)
    images_NCHW = torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).float()
    small = nn.functional.interpolate(images_NCHW, scale_factor=most / side, mode="area")
    shrunk: NDArray[np.uint8] = small.round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return shrunk


def _filters_in_words(filters: Sequence[FirstFilter], agreement: float, channels: int) -> str:
    counts = Counter[str](kind.label for kind in filters)
    if not filters:
        return "The first layer has no filters that could be looked at."
    names = {
        EDGE: "edges",
        CORNER: "corners",
        COLOUR: "even colours" if channels > 1 else "even brightness",
        OTHER: "none of these",
    }
    found = ", ".join(f"{counts[label]} to {name}" for label, name in names.items() if counts[label])
    text = f"What its {len(filters)} first filters respond to most, of edges, corners and even fields: {found}."
    if counts[EDGE]:
        text += f" What the edge filters see together correlates with a Sobel operator's edges by {agreement:.2f}."
    return text


def _layers_in_words(layers: Sequence[Layer], num_exciting: int, chance: float) -> str:
    if len(layers) < 2:
        return ""
    shares = [f"{layer.share_of_one_class:.0%}" for layer in layers]
    text = (
        f"Of the {num_exciting} test images that excite a channel most, {', '.join(shares[:-1])} and {shares[-1]} are "
        f"of one class, from the first layer to the last ({chance:.0%} by chance): "
    )
    if layers[-1].share_of_one_class > layers[0].share_of_one_class + _SHOWS:
        return text + "deeper channels answer to what makes a class, earlier ones to what classes share."
    return text + "deeper channels are no closer to a class than earlier ones."
