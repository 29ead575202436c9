"""The whole study on generated images, on a real Ray session."""

from pathlib import Path

import pandas as pd
import pytest

from reconv.data.arrays import PreparedData
from reconv.params import Params
from reconv.study.plan import plan
from reconv.study.study import StudyOutcome, nothing, study, write_study
from reconv.training.cluster import ray_session
from reconv.training.observer import Observers

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def outcome(prepared: PreparedData, tiny_params: Params, tmp_path_factory: pytest.TempPathFactory) -> StudyOutcome:
    params = tiny_params
    jobs = plan(params, {"cnn": {}, "feedforward": {}}, prepared.manifest)
    with ray_session(params.resources, len(jobs)) as session:
        return study(jobs, params, prepared, tmp_path_factory.mktemp("state"), session, Observers())


def test_every_training_is_measured_on_the_test_images(outcome: StudyOutcome) -> None:
    table = outcome.tables["trainings"]

    assert len(table) == 9
    assert table["accuracy"].between(0, 1).all()
    shares = table.set_index(["variant", "model"])["images"]
    assert shares["base", "cnn"] == 33
    assert 15 <= shares["share-0.5", "cnn"] <= 18
    assert outcome.study.device_seconds > 0


def test_an_accuracy_does_not_depend_on_where_it_is_measured(outcome: StudyOutcome) -> None:
    """Unshifted images are the perturbed ones' own, the first rows of both tables."""
    shifts, corruptions = outcome.tables["shifts"], outcome.tables["corruptions"]
    unshifted = shifts[(shifts["pixels"] == 0) & (shifts["variant"] == "base")].set_index("model")["accuracy"]
    uncorrupted = corruptions[corruptions["severity"] == 0].set_index("model")["accuracy"]

    assert unshifted.to_dict() == uncorrupted.to_dict()


def test_every_size_has_its_costs(outcome: StudyOutcome) -> None:
    table = outcome.tables["sizes"]

    assert len(table) == 2 * 2 * 2
    assert (table[["parameters", "multiply_adds", "step_ms"]] > 0).all(axis=None)


def test_what_is_written_can_be_drawn(outcome: StudyOutcome, tmp_path: Path) -> None:
    write_study(outcome, tmp_path)

    for x in ("images", "pixels", "severity"):
        plot = pd.read_csv(tmp_path / "plots" / f"{x}.csv")
        assert list(plot.columns) == [x, "cnn", "feedforward"]
        assert plot.notna().all(axis=None)
    for measure in ("parameters", "multiply_adds", "step_ms"):
        plot = pd.read_csv(tmp_path / "plots" / f"{measure}.csv")
        assert list(plot.columns) == ["pixels", "cnn", "feedforward"]
        assert len(plot) == 2
    variants = pd.read_csv(tmp_path / "plots" / "variants.csv")
    assert {"cnn, base", "cnn, permuted", "feedforward, permuted"} <= set(variants["training"])
    assert not variants["training"].str.contains("share").any()


def test_a_study_that_is_not_enabled_is_empty(params: Params, tmp_path: Path) -> None:
    write_study(nothing(params.study), tmp_path)

    assert [path.name for path in tmp_path.rglob("*")] == ["study.json"]
