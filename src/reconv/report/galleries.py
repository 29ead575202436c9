"""Pictures of what the network learned, from results/explain: for the page and for `dvc plots`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconv.artifacts import Answer, DataFinding, Explanation
from reconv.report.pictures import (
    Pixels,
    as_data_uri,
    enlarged,
    highlighted,
    in_two_colours,
    sheet,
    stretched,
)

_WIDTH = 900
"""Of a row of pictures, in pixels."""


@dataclass(frozen=True)
class Gallery:
    """Pictures in rows. They are no plots: a browser shows them as they are, with fewer columns where it is narrow."""

    pictures: Sequence[Pixels]
    titles: Sequence[str]
    """Of one or two lines."""
    columns: int
    narrow_columns: int

    @property
    def cells(self) -> list[tuple[str, str]]:
        """Title and data URI of each."""
        return [(title, as_data_uri(picture)) for title, picture in zip(self.titles, self.pictures, strict=True)]

    def as_picture(self) -> Pixels:
        """(height, width, 4), without titles: about as wide as the page."""
        large = [enlarged(picture, _WIDTH // self.columns) for picture in self.pictures]
        return sheet(large, self.columns, gap=8)


def galleries(explanation: Explanation, pictures: Mapping[str, NDArray[Any]]) -> dict[str, Gallery]:
    """By name; nothing of what there is not: filters of another first layer, mistakes of a model that makes none."""
    found = {}
    if explanation.filters:
        found["filters"] = _filters(explanation, pictures["filters"])
        found["edges"] = _edges(pictures["images"], pictures["edges"], pictures["sobel"])
    if explanation.layers:
        found["patches"] = _patches(explanation, pictures)
    if explanation.answers:
        found["answers"] = _answers(explanation.answers, pictures["answers"], pictures["cams"])
    if explanation.mistakes:
        found["mistakes"] = Gallery([*pictures["mistakes"]], [_in_words(one) for one in explanation.mistakes], 4, 2)
    if explanation.suspects:
        titles = [f"{one.label}\nrather {one.suggested} ({_share(one.confidence)})" for one in explanation.suspects]
        found["suspects"] = Gallery([*pictures["suspects"]], titles, 6, 2)
    return found


def of_findings(findings: Sequence[DataFinding], pictures: Mapping[str, NDArray[Any]]) -> dict[str, Gallery]:
    """By the kind of the finding."""
    return {
        one.kind: Gallery([*pictures[one.kind]], [picture.caption for picture in one.pictures], 6, 2)
        for one in findings
        if one.pictures
    }


def _filters(explanation: Explanation, weights_OCkk: NDArray[np.floating]) -> Gallery:
    """Sorted by what they respond to; grey ones in two colours."""
    order = sorted(
        range(len(explanation.filters)),
        key=lambda i: (explanation.filters[i].label, -explanation.filters[i].likeness),
    )
    is_grey = weights_OCkk.shape[1] == 1
    names = {"colour": "brightness"} if is_grey else {}
    draw = in_two_colours if is_grey else stretched
    return Gallery(
        [draw(weights_OCkk[i, 0] if is_grey else weights_OCkk[i].transpose(1, 2, 0)) for i in order],
        [names.get(explanation.filters[i].label, explanation.filters[i].label) for i in order],
        8,
        4,
    )


def _edges(images_NHWC: Pixels, edges_NHW: NDArray[np.floating], sobel_NHW: NDArray[np.floating]) -> Gallery:
    """Test images, what the edge filters see together, and a Sobel operator's edges."""
    count = len(images_NHWC)
    return Gallery(
        [*images_NHWC, *(stretched(values_HW[..., None]) for values_HW in (*edges_NHW, *sobel_NHW))],
        ["image"] * count + ["edge filters"] * count + ["Sobel"] * count,
        count,
        count,
    )


def _patches(explanation: Explanation, pictures: Mapping[str, NDArray[Any]]) -> Gallery:
    """A picture per layer: a row per channel, the patches that excite it most."""
    mosaics, titles = [], []
    for number, layer in enumerate(explanation.layers, start=1):
        patches_CPppc = pictures[f"patches-{number}"]
        mosaics.append(sheet([*patches_CPppc.reshape(-1, *patches_CPppc.shape[2:])], patches_CPppc.shape[1]))
        titles.append(f"layer {number}: sees {layer.sees} × {layer.sees} pixels")
    return Gallery(mosaics, titles, min(len(mosaics), 4), 1)


def _answers(answers: Sequence[Answer], images_AHWC: Pixels, cams_AHW: NDArray[np.floating]) -> Gallery:
    """Each image, and beside it what speaks for the answer."""
    return Gallery(
        [
            sheet([image_HWC, highlighted(image_HWC, cam_HW)], columns=2)
            for image_HWC, cam_HW in zip(images_AHWC, cams_AHW, strict=True)
        ],
        [_in_words(one) for one in answers],
        4,
        2,
    )


def _in_words(answer: Answer) -> str:
    confidence = _share(answer.confidence)
    if answer.actual == answer.predicted:
        return f"{answer.actual}\nright ({confidence})"
    return f"{answer.actual}\nnot {answer.predicted} ({confidence})"


def _share(confidence: float) -> str:
    return ">99.9%" if confidence > 0.999 else f"{confidence:.1%}"
