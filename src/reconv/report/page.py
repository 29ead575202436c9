"""One HTML page that opens offline: the verdict, the costs, how both models learned and where they err."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

from reconv.artifacts import DataReport, Explanation, Manifest, Metrics, Study, TrainingCost, Verdict
from reconv.evaluation.metrics import confusion_rows
from reconv.files import read_arrays
from reconv.params import ReportParams
from reconv.places import EXPLAIN, PREPARED, STUDY, evaluate_dir, search_dir, train_dir
from reconv.report import study_figures
from reconv.report.bill import Item, bill, of_one_seed
from reconv.report.figures import (
    class_differences,
    confusion_matrices,
    difference_interval,
    learning_curves,
    reliability_diagrams,
    search_trials,
)
from reconv.report.galleries import galleries, of_findings
from reconv.untrusted import printable_lines

_TEMPLATES = Path(__file__).parent


@dataclass(frozen=True)
class Contents:
    """All that the page shows."""

    verdict: Verdict
    metrics: dict[str, Metrics]
    curves: dict[str, pd.DataFrame]
    trials: dict[str, pd.DataFrame]
    confusion: dict[str, pd.DataFrame]
    calibration: dict[str, pd.DataFrame]
    costs: dict[str, TrainingCost]
    study: Study
    study_tables: dict[str, pd.DataFrame]
    """trainings, shifts, corruptions, sizes; empty where the study is not enabled."""
    explanation: Explanation
    pictures: Mapping[str, NDArray[Any]]
    """Of the explanation, by name."""
    manifest: Manifest
    data_report: DataReport
    data_pictures: Mapping[str, NDArray[Any]]
    """Of the findings about the images, by kind."""
    commit: str


def collect(verdict: Verdict, models: tuple[str, ...], commit: str) -> Contents:
    """Read the tables that the earlier stages wrote."""
    manifest = Manifest.load(PREPARED / "manifest.json")
    predictions = {model: pd.read_parquet(evaluate_dir(model) / "predictions.parquet") for model in models}
    return Contents(
        verdict=verdict,
        metrics={model: Metrics.load(evaluate_dir(model) / "metrics.json") for model in models},
        curves={model: pd.read_csv(train_dir(model) / "curves.csv") for model in models},
        trials={model: pd.read_csv(search_dir(model) / "trials.csv") for model in models},
        confusion={model: confusion_rows(table, manifest.class_names) for model, table in predictions.items()},
        calibration={model: pd.read_csv(evaluate_dir(model) / "calibration.csv") for model in models},
        costs={model: TrainingCost.load(train_dir(model) / "cost.json") for model in models},
        study=Study.load(STUDY / "study.json"),
        explanation=Explanation.load(EXPLAIN / "explanation.json"),
        pictures=read_arrays(EXPLAIN / "pictures.npz"),
        study_tables={path.stem: pd.read_csv(path) for path in sorted(STUDY.glob("*.csv"))},
        manifest=manifest,
        data_report=DataReport.load(PREPARED / "data_report.json"),
        data_pictures=read_arrays(PREPARED / "findings.npz"),
        commit=commit,
    )


def render(contents: Contents, params: ReportParams) -> str:
    """The page as self-contained HTML; it asks no other place for anything."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_visible,
    )
    figures = {
        "difference": difference_interval(contents.verdict),
        "classes": class_differences(contents.verdict),
        "calibration": reliability_diagrams(contents.calibration),
        "curves": learning_curves(contents.curves),
        "trials": search_trials(contents.trials),
        "confusion": confusion_matrices(contents.confusion, contents.manifest.class_names),
    }
    if contents.study.enabled:
        figures |= _of_study(contents.study_tables)
    return environment.get_template("template.html").render(
        contents=contents,
        verdict=contents.verdict,
        figures={name: _as_html(name, figure) for name, figure in figures.items()},
        galleries=galleries(contents.explanation, contents.pictures)
        | of_findings(contents.data_report.findings, contents.data_pictures),
        plotly=get_plotlyjs(),
        bill=bill(contents.verdict, contents.costs, contents.metrics, contents.study, params),
        seeds={model: of_one_seed(model, cost, params) for model, cost in contents.costs.items()},
        counters=_counters(contents),
        energy=_energy,
        params=params,
        cores=os.cpu_count(),
        p_value=_p_value,
        as_percent=_as_percent,
    )


def _visible(value: Any) -> Any:
    """Escape what would change the direction of writing in names; Markup is our own."""
    return printable_lines(value) if type(value) is str else value


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _as_percent(probability: float) -> str:
    """Never 100 % or 0 %: a finite number of resamples does not know."""
    if probability > 0.999:
        return "more than 99.9 %"
    return "less than 0.1 %" if probability < 0.001 else f"{probability * 100:.1f} %"


def _energy(item: Item) -> str:
    return f"{'' if item.is_measured else '≈ '}{item.watt_hours:,.2f}"


def _counters(contents: Contents) -> list[str]:
    """Names of what counted the final training's energy."""
    return sorted({name for cost in contents.costs.values() if cost.energy for name in cost.energy.counters})


def _of_study(tables: dict[str, pd.DataFrame]) -> dict[str, go.Figure]:
    """By the name of the finding that each belongs to."""
    return {
        "space": study_figures.variants(tables["trainings"]),
        "shifts": study_figures.shifts(tables["shifts"]),
        "size": study_figures.sizes(tables["sizes"]),
        "data": study_figures.shares(tables["trainings"]),
        "corruptions": study_figures.corruptions(tables["corruptions"]),
    }


def _as_html(name: str, figure: go.Figure) -> str:
    config = {"displaylogo": False, "responsive": True}
    html: str = figure.to_html(full_html=False, include_plotlyjs=False, div_id=f"figure-{name}", config=config)
    return html
