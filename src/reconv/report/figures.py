"""The report's figures, drawn by plotly. Each takes tables and returns a figure; no file is read here."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reconv.artifacts import Verdict

# Okabe & Ito's palette, which colour-blind readers can tell apart.
COLOURS = {"cnn": "#0072B2", "feedforward": "#D55E00"}
_DASHES = {"cnn": "solid", "feedforward": "dash"}


def difference_interval(verdict: Verdict) -> go.Figure:
    """The difference in accuracy with its interval, against 0."""
    interval = verdict.difference_interval
    points = verdict.difference * 100
    figure = go.Figure(
        go.Scatter(
            x=[points],
            y=["CNN − feed-forward"],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [interval.high * 100 - points],
                "arrayminus": [points - interval.low * 100],
                "thickness": 4,
                "width": 10,
            },
            marker={"size": 14, "color": COLOURS["cnn"]},
            hovertemplate="%{x:+.2f} points<extra></extra>",
        )
    )
    figure.add_vline(x=0, line_dash="dot", annotation_text="no difference")
    figure.update_xaxes(title="points of test accuracy", zeroline=False, rangemode="tozero")
    return _styled(figure, height=190)


def learning_curves(curves: dict[str, pd.DataFrame]) -> go.Figure:
    """Training loss and accuracy by epoch: the mean over seeds as a line, each seed as a faint one."""
    figure = make_subplots(rows=1, cols=2, subplot_titles=("training loss", "training accuracy"))
    for model, table in curves.items():
        for column, metric in enumerate(("train/loss", "train/accuracy"), start=1):
            for _, seed in table.groupby("seed"):
                line = {"color": COLOURS.get(model), "width": 1}
                figure.add_scatter(
                    x=seed["epoch"], y=seed[metric], mode="lines", line=line, opacity=0.3, hoverinfo="skip",
                    showlegend=False, row=1, col=column,
                )  # fmt: skip
            mean = table.groupby("epoch")[metric].mean()
            figure.add_scatter(
                x=mean.index, y=mean, name=model, legendgroup=model, showlegend=column == 1, mode="lines+markers",
                line={"color": COLOURS.get(model), "width": 3, "dash": _DASHES.get(model)}, row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(title="epoch")
    return _styled(figure, height=380)


def search_trials(trials: dict[str, pd.DataFrame]) -> go.Figure:
    """Best validation accuracy of each trial, in the order of suggestion; larger marks trained longer."""
    figure = go.Figure()
    for model, table in trials.items():
        figure.add_scatter(
            x=table["trial"],
            y=table["validation/accuracy"],
            name=model,
            mode="markers",
            marker={
                "size": 8 + 4 * table["epochs"],
                "color": COLOURS.get(model),
                "symbol": "circle" if model == "cnn" else "diamond",
                "opacity": 0.7,
            },
            customdata=table[["epochs", "status"]],
            hovertemplate="trial %{x}: %{y:.2%} after %{customdata[0]} epochs, %{customdata[1]}",
        )
    figure.update_xaxes(title="trial")
    figure.update_yaxes(title="validation accuracy", tickformat=".0%")
    return _styled(figure, height=380)


def confusion_matrices(confusion: dict[str, pd.DataFrame], class_names: tuple[str, ...]) -> go.Figure:
    """Share of each actual class that is predicted as each class, over all seeds."""
    figure = make_subplots(rows=1, cols=len(confusion), subplot_titles=list(confusion), horizontal_spacing=0.16)
    for column, table in enumerate(confusion.values(), start=1):
        counts = pd.crosstab(table["actual"], table["predicted"]).reindex(
            index=class_names, columns=class_names, fill_value=0
        )
        shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
        figure.add_heatmap(
            z=shares.to_numpy(), x=list(class_names), y=list(class_names), colorscale="Cividis", zmin=0, zmax=1,
            showscale=column == 1, colorbar={"tickformat": ".0%", "title": "share"},
            hovertemplate="%{y} predicted as %{x}: %{z:.1%}<extra></extra>", row=1, col=column,
        )  # fmt: skip
    figure.update_yaxes(autorange="reversed", tickfont_size=10)
    figure.update_xaxes(tickangle=-60, tickfont_size=10)
    return _styled(figure, height=480)


def _styled(figure: go.Figure, height: int) -> go.Figure:
    grid = "rgba(128,128,128,0.25)"
    figure.update_xaxes(gridcolor=grid, zerolinecolor=grid)
    figure.update_yaxes(gridcolor=grid, zerolinecolor=grid)
    return figure.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 50, "b": 10},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(128,128,128,0.08)",
        font={"family": "system-ui, sans-serif", "color": "#777"},
        legend={"orientation": "h", "y": 1.2},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": "rgba(128,128,128,0.5)", "activecolor": "#777"},
        colorway=list(COLOURS.values()),
    )
