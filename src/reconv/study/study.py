"""Why does one of them win? Trainings side by side, then what is measured on them. Called by the stage `study`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from reconv.artifacts import Study
from reconv.data.arrays import PreparedData
from reconv.files import AnyPath, write_csv
from reconv.params import Params, StudyParams
from reconv.study.plan import BASE
from reconv.training.cluster import Session
from reconv.training.energy import metered
from reconv.training.job import TrainingJob
from reconv.training.observer import Observer
from reconv.training.side_by_side import train_side_by_side


@dataclass(frozen=True)
class StudyOutcome:
    study: Study
    tables: Mapping[str, pd.DataFrame]
    """trainings, shifts, corruptions and sizes; see `Measured`. None of them if the study is not enabled."""


def study(
    jobs: Mapping[str, TrainingJob],
    params: Params,
    data: PreparedData,
    state: AnyPath,
    session: Session,
    observer: Observer,
) -> StudyOutcome:
    """Train `jobs`, as `plan` made them, and measure; what `state` holds already is not trained again.

    Raises:
        TrainingError: a training diverged, or its worker died more often than Ray retries.
    """
    from reconv.study.findings import CONFIDENCE, find  # torch: not before Ray's workers have been started
    from reconv.study.measure import measure

    with metered(state, session.is_local) as meter:
        trained = train_side_by_side(jobs, data, state, session, observer)
    measured = measure(trained, jobs, data, params.study)
    return StudyOutcome(
        study=Study(
            enabled=True,
            profile=params.study.profile,
            num_seeds=params.study.size.num_seeds,
            max_epochs=params.study.size.max_epochs,
            confidence=CONFIDENCE,
            findings=find(measured, params.study.shares),
            device_seconds=sum(one.device_seconds for one in trained.values()),
            energy=meter.energy,
        ),
        tables={
            "trainings": measured.trainings,
            "shifts": measured.shifts,
            "corruptions": measured.corruptions,
            "sizes": measured.sizes,
        },
    )


def nothing(params: StudyParams) -> StudyOutcome:
    """Of a study that is not enabled."""
    empty = Study(
        enabled=False,
        profile=params.profile,
        num_seeds=0,
        max_epochs=0,
        confidence=0.0,
        findings=(),
        device_seconds=0.0,
        energy=None,
    )
    return StudyOutcome(empty, {})


def write_study(outcome: StudyOutcome, out: Path) -> None:
    """results/study: a CSV file per table, study.json, and in plots/ what `dvc plots` draws, a column per model."""
    for name, table in outcome.tables.items():
        write_csv(out / f"{name}.csv", table)
    if outcome.tables:
        trainings, shifts = outcome.tables["trainings"], outcome.tables["shifts"]
        _write_plot(out, "images", trainings[trainings["by_share"]])
        _write_plot(out, "pixels", shifts[shifts["variant"] == BASE])
        _write_plot(out, "severity", outcome.tables["corruptions"])
        names = trainings["model"] + ", " + trainings["variant"]
        variants = trainings.assign(training=names)[~trainings["by_share"] | (trainings["variant"] == BASE)]
        write_csv(out / "plots" / "variants.csv", variants.groupby("training")["accuracy"].mean().reset_index())
        sizes = outcome.tables["sizes"]
        for measure in ("parameters", "multiply_adds", "step_ms"):
            _write_plot(out, measure, sizes[sizes["channels"] == sizes["channels"].min()], x="pixels", value=measure)
    outcome.study.save(out / "study.json")


def _write_plot(out: Path, name: str, table: pd.DataFrame, x: str = "", value: str = "accuracy") -> None:
    """Means of `value` by `x`, which is `name` if it is not given."""
    means = table.pivot_table(index=x or name, columns="model", values=value).reset_index()
    write_csv(out / "plots" / f"{name}.csv", means)
