"""Pictures of what the network learned, drawn by plotly from results/explain."""

from collections.abc import Iterator, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.basedatatypes import BaseTraceType
from plotly.subplots import make_subplots

from reconv.artifacts import Explanation
from reconv.report.figures import styled

_COLUMNS = 8
_WIDTH = 900
"""Of the page in pixels, which a row of square pictures shares."""


def filters(explanation: Explanation, weights_OCkk: NDArray[np.floating]) -> go.Figure:
    """The first filters, sorted by what they respond to; grey ones from negative (orange) to positive (blue)."""
    order = sorted(
        range(len(explanation.filters)),
        key=lambda i: (explanation.filters[i].label, -explanation.filters[i].likeness),
    )
    names = {"colour": "brightness"} if weights_OCkk.shape[1] == 1 else {}
    titles = [names.get(explanation.filters[i].label, explanation.filters[i].label) for i in order]
    return _grid([_of_filter(weights_OCkk[i]) for i in order], titles, _COLUMNS)


def edges(
    images_NHWC: NDArray[np.uint8], edges_NHW: NDArray[np.floating], sobel_NHW: NDArray[np.floating]
) -> go.Figure:
    """Test images, what the edge filters see together, and a Sobel operator's edges."""
    rows: list[BaseTraceType] = [_of_image(image) for image in images_NHWC]
    rows += [_heat(values, "Greys_r") for values in (*edges_NHW, *sobel_NHW)]
    count = len(images_NHWC)
    titles = ["image"] * count + ["edge filters"] * count + ["Sobel"] * count
    return _grid(rows, titles, count)


def mistakes(explanation: Explanation, images_NHWC: NDArray[np.uint8]) -> go.Figure:
    """The wrong answers that the network was surest of."""
    titles = [f"{one.actual}<br>not {one.predicted} ({one.confidence:.0%})" for one in explanation.mistakes]
    return _grid([_of_image(image) for image in images_NHWC], titles, 4)


def _grid(pictures: Sequence[BaseTraceType], titles: Sequence[str], columns: int) -> go.Figure:
    rows = -(-len(pictures) // columns)
    figure = make_subplots(
        rows=rows, cols=columns, subplot_titles=[_shown(title) for title in titles], horizontal_spacing=0.02,
        vertical_spacing=min(0.9 / max(rows, 1) * 0.42, 0.5),
    )  # fmt: skip
    for picture, (row, column) in zip(pictures, _places(rows, columns), strict=False):
        figure.add_trace(picture, row=row, col=column)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, autorange="reversed", constrain="domain")
    for place in range(1, len(pictures) + 1):  # pixels are square
        figure.update_layout({f"yaxis{place}": {"scaleanchor": f"x{place}"}, f"xaxis{place}": {"constrain": "domain"}})
    figure.update_annotations(font_size=11)
    return styled(figure, height=60 + _WIDTH // columns * rows)


def _shown(title: str) -> str:
    """Class names are not markup to plotly either; its own line break is."""
    head, found, tail = title.partition("<br>not ")
    safe = [part.replace("&", "&amp;").replace("<", "&lt;") for part in (head, tail)]
    return f"{safe[0]}<br>not {safe[1]}" if found else safe[0]


def _places(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    return ((row, column) for row in range(1, rows + 1) for column in range(1, columns + 1))


def _of_filter(weights_Ckk: NDArray[np.floating]) -> BaseTraceType:
    if len(weights_Ckk) == 1:
        limit = float(np.abs(weights_Ckk).max()) or 1.0
        return _heat(weights_Ckk[0], [[0, "#D55E00"], [0.5, "#f7f7f7"], [1, "#0072B2"]], -limit, limit)
    low, high = float(weights_Ckk.min()), float(weights_Ckk.max())
    scaled = (weights_Ckk - low) / ((high - low) or 1.0) * 255
    return _of_image(scaled.round().astype(np.uint8).transpose(1, 2, 0))


def _of_image(image_HWC: NDArray[np.uint8]) -> BaseTraceType:
    if image_HWC.shape[-1] == 1:
        return _heat(image_HWC[..., 0], "Greys_r", 0, 255)
    return go.Image(z=image_HWC, hoverinfo="skip")


def _heat(
    values: NDArray[np.generic], colours: object, low: float | None = None, high: float | None = None
) -> go.Heatmap:
    return go.Heatmap(z=values, colorscale=colours, zmin=low, zmax=high, showscale=False, hoverinfo="skip")
