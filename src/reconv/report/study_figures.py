"""The figures of the study, drawn by plotly. Each takes one of the study's tables and returns a figure."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reconv.places import BASELINE, CNN
from reconv.report.figures import COLOURS, SYMBOLS, styled

_VARIANTS = {
    "base": "as they are",
    "permuted": "pixels in random order",
    "matched": "as many parameters as the CNN",
    "untied": "filters not shared, fewer images",
    "pooled": "max pooling",
    "unpooled": "no pooling",
    "scratch": "not pretrained",
}


def variants(trainings: pd.DataFrame) -> go.Figure:
    """Test accuracy of every training, by what was changed."""
    figure = go.Figure()
    for model, table in trainings[trainings["variant"].isin(_VARIANTS)].groupby("model", sort=True):
        figure.add_scatter(
            x=table["accuracy"],
            y=table["variant"].map(_VARIANTS),
            name=str(model),
            mode="markers",
            marker={"size": 12, "color": COLOURS.get(str(model)), "symbol": SYMBOLS.get(str(model)), "opacity": 0.75},
            customdata=table[["parameters", "seed"]],
            hovertemplate="%{x:.2%}<br>%{customdata[0]:,} parameters, seed %{customdata[1]}",
        )
    figure.update_xaxes(title="test accuracy", tickformat=".1%")
    present = [name for key, name in _VARIANTS.items() if (trainings["variant"] == key).any()]
    figure.update_yaxes(categoryorder="array", categoryarray=present[::-1])
    return styled(figure, height=360)


def shifts(table: pd.DataFrame) -> go.Figure:
    """Accuracy on shifted test images, mean over seeds and directions."""
    figure = go.Figure()
    for (model, variant), rows in table.groupby(["model", "variant"], sort=True):
        mean = rows.groupby("pixels")["accuracy"].mean()
        is_base = variant == "base"
        name = model if is_base else f"{model}, {_VARIANTS.get(str(variant), variant)}"
        _add_line(figure, mean.index, mean, str(model), name, dash="solid" if is_base else "dot")
    figure.update_xaxes(title="shift in pixels", dtick=1)
    figure.update_yaxes(title="accuracy", tickformat=".0%", rangemode="tozero")
    return styled(figure, height=380)


def sizes(table: pd.DataFrame) -> go.Figure:
    """Parameters, multiply-adds and time of a training step, by the side of the image; dotted for three channels."""
    panels = {"parameters": "parameters", "multiply_adds": "multiply-adds of an image", "step_ms": "training step, ms"}
    figure = make_subplots(rows=1, cols=3, subplot_titles=list(panels.values()), horizontal_spacing=0.08)
    for (model, channels), rows in table.groupby(["model", "channels"], sort=True):
        for column, key in enumerate(panels, start=1):
            name = f"{model}, {channels} channel{'' if channels == 1 else 's'}"
            _add_line(
                figure, rows["pixels"], rows[key], str(model), name, dash="solid" if channels == 1 else "dot",
                showlegend=column == 1, row=1, col=column, hovertemplate="%{x} pixels: %{y:,.3s}",
            )  # fmt: skip
    ticks = sorted(table["pixels"].unique().tolist())
    figure.update_xaxes(title="pixels a side", type="log", tickvals=ticks, ticktext=[str(tick) for tick in ticks])
    figure.update_yaxes(type="log", exponentformat="SI")
    return styled(figure, height=400)


def shares(trainings: pd.DataFrame) -> go.Figure:
    """Test accuracy by the number of training images: the mean over seeds as a line, each seed as a mark."""
    figure = go.Figure()
    rows = trainings[trainings["by_share"]]
    for model, table in rows.groupby("model", sort=True):
        mean = table.groupby("images")["accuracy"].mean()
        _add_line(figure, mean.index, mean, str(model), str(model))
        figure.add_scatter(
            x=table["images"], y=table["accuracy"], mode="markers", showlegend=False, hoverinfo="skip", opacity=0.4,
            marker={"color": COLOURS.get(str(model)), "symbol": SYMBOLS.get(str(model))},
        )  # fmt: skip
    ticks = sorted(rows["images"].unique().tolist())
    figure.update_xaxes(title="training images", type="log", tickvals=ticks, ticktext=[f"{tick:,}" for tick in ticks])
    figure.update_yaxes(title="test accuracy", tickformat=".0%")
    return styled(figure, height=380)


def corruptions(table: pd.DataFrame) -> go.Figure:
    """Accuracy by severity, over all corruptions; and the error on each, mean over severities."""
    figure = make_subplots(
        rows=1, cols=2, subplot_titles=("accuracy by severity", "error by corruption"), column_widths=[0.38, 0.62]
    )
    for model in (CNN, BASELINE):
        rows = table[table["model"] == model]
        by_severity = rows.groupby("severity")["accuracy"].mean()
        _add_line(figure, by_severity.index, by_severity, model, model, row=1, col=1)
        errors = 1 - rows[rows["severity"] > 0].groupby("corruption", sort=False)["accuracy"].mean()
        figure.add_bar(
            x=errors.index, y=errors, marker={"color": COLOURS.get(model)}, name=model, showlegend=False,
            hovertemplate="%{x}: %{y:.1%} wrong", row=1, col=2,
        )  # fmt: skip
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    figure.update_xaxes(tickangle=-50, row=1, col=2)
    figure.update_xaxes(title="severity, 0 as they are", row=1, col=1)
    return styled(figure, height=440)


def _add_line(
    figure: go.Figure, x: Any, y: Any, model: str, name: object, dash: str = "solid", **options: object
) -> None:
    figure.add_scatter(
        **{
            "x": x,
            "y": y,
            "name": name,
            "legendgroup": name,
            "mode": "lines+markers",
            "line": {"color": COLOURS.get(model), "width": 2.5, "dash": dash},
            "marker": {"symbol": SYMBOLS.get(model), "size": 8},
            "hovertemplate": "%{x}: %{y:.1%}",
            **options,
        }
    )
