"""The report's figures, drawn by plotly. Each takes tables and returns a figure; no file is read here."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reconv.artifacts import Verdict
from reconv.untrusted import as_label

# Okabe & Ito's palette, which colour-blind readers can tell apart.
COLOURS = {"cnn": "#0072B2", "feedforward": "#D55E00"}
SYMBOLS = {"cnn": "circle", "feedforward": "diamond"}


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
    return styled(figure, height=190)


def class_differences(verdict: Verdict) -> go.Figure:
    """The difference on each class with its interval; filled marks stay after the correction for their number."""
    classes = sorted(verdict.classes, key=lambda one: one.difference)
    is_found = [one.adjusted_p_value < 1 - verdict.confidence for one in classes]
    figure = go.Figure(
        go.Scatter(
            x=[one.difference * 100 for one in classes],
            y=[as_label(one.name) for one in classes],
            mode="markers",
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [(one.interval.high - one.difference) * 100 for one in classes],
                "arrayminus": [(one.difference - one.interval.low) * 100 for one in classes],
                "thickness": 2,
                "color": "#888888",
            },
            marker={
                "size": 11,
                "symbol": ["circle" if found else "circle-open" for found in is_found],
                "color": [COLOURS["cnn"] if one.difference >= 0 else COLOURS["feedforward"] for one in classes],
            },
            customdata=[(one.num_images, one.adjusted_p_value) for one in classes],
            hovertemplate="%{y}: %{x:+.1f} points<br>%{customdata[0]:,} images, corrected p %{customdata[1]:.2g}"
            "<extra></extra>",
        )
    )
    figure.add_vline(x=0, line_dash="dot")
    figure.update_xaxes(title="CNN − feed-forward, points of accuracy", zeroline=False)
    figure.update_yaxes(type="category")
    return styled(figure, height=110 + 28 * len(classes))


def reliability_diagrams(calibration: dict[str, pd.DataFrame]) -> go.Figure:
    """Accuracy by confidence, before and after temperature scaling; on the diagonal they agree."""
    figure = make_subplots(rows=1, cols=len(calibration), subplot_titles=list(calibration), horizontal_spacing=0.1)
    for column, (model, table) in enumerate(calibration.items(), start=1):
        figure.add_scatter(
            x=[0, 1], y=[0, 1], mode="lines", line={"color": "#888", "width": 1, "dash": "dot"}, hoverinfo="skip",
            name="confidence = accuracy", showlegend=column == 1, row=1, col=column,
        )  # fmt: skip
        for state, colour, symbol in (("before", "#999999", "circle-open"), ("after", COLOURS.get(model), "circle")):
            bins = table[table["state"] == state]
            figure.add_scatter(
                x=bins["confidence"], y=bins["accuracy"], mode="lines+markers", name=f"{model}, {state} scaling",
                line={"color": colour, "width": 2}, marker={"symbol": symbol, "size": 8},
                customdata=bins[["images"]],
                hovertemplate="confidence %{x:.1%}, accuracy %{y:.1%}<br>%{customdata[0]:,} answers<extra></extra>",
                row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(title="confidence", tickformat=".0%", range=[0, 1.02])
    figure.update_yaxes(tickformat=".0%", range=[0, 1.02])
    figure.update_yaxes(title="accuracy", col=1)
    return styled(figure, height=420)


def learning_curves(curves: dict[str, pd.DataFrame]) -> go.Figure:
    """Training loss, and accuracy on training (dotted) and validation images, by epoch: the mean over seeds as a line,
    each seed as a faint one."""
    panels = [("train/loss", 1, "dot", "training"), ("train/accuracy", 2, "dot", "training")]
    panels.append(("validation/accuracy", 2, "solid", "validation"))
    figure = make_subplots(rows=1, cols=2, subplot_titles=("training loss", "accuracy"))
    for model, table in curves.items():
        for metric, column, dash, images in panels:
            colour = COLOURS.get(model)
            for _, seed in table.groupby("seed"):
                figure.add_scatter(
                    x=seed["epoch"], y=seed[metric], mode="lines", line={"color": colour, "width": 1}, opacity=0.25,
                    hoverinfo="skip", showlegend=False, row=1, col=column,
                )  # fmt: skip
            mean = table.groupby("epoch")[metric].mean()
            figure.add_scatter(
                x=mean.index, y=mean, name=f"{model}, {images}", mode="lines+markers", showlegend=column == 2,
                line={"color": colour, "width": 3, "dash": dash}, marker={"symbol": SYMBOLS.get(model)},
                row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(tickformat=".0%", col=2)
    return styled(figure, height=400)


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
                "symbol": SYMBOLS.get(model),
                "opacity": 0.7,
            },
            customdata=table[["epochs", "status"]],
            hovertemplate="trial %{x}: %{y:.2%} after %{customdata[0]} epochs, %{customdata[1]}",
        )
    figure.update_xaxes(title="trial")
    figure.update_yaxes(title="validation accuracy", tickformat=".0%")
    return styled(figure, height=380)


def confusion_matrices(confusion: dict[str, pd.DataFrame], class_names: tuple[str, ...]) -> go.Figure:
    """Share of each actual class that is predicted as each class, over all seeds."""
    figure = make_subplots(rows=1, cols=len(confusion), subplot_titles=list(confusion), horizontal_spacing=0.16)
    labels = [as_label(name) for name in class_names]
    for column, table in enumerate(confusion.values(), start=1):
        counts = pd.crosstab(table["actual"], table["predicted"]).reindex(
            index=class_names, columns=class_names, fill_value=0
        )
        shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
        figure.add_heatmap(
            z=shares.to_numpy(), x=labels, y=labels, colorscale="Cividis", zmin=0, zmax=1,
            showscale=column == 1, colorbar={"tickformat": ".0%", "title": "share"},
            hovertemplate="%{y} predicted as %{x}: %{z:.1%}<extra></extra>", row=1, col=column,
        )  # fmt: skip
    figure.update_yaxes(autorange="reversed", tickfont_size=10)
    figure.update_xaxes(tickangle=-60, tickfont_size=10)
    return styled(figure, height=480)


def styled(figure: go.Figure, height: int) -> go.Figure:
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
