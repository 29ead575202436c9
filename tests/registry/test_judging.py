"""Registering the same winner again, and networks that only guess, in real stores."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reconv.artifacts import Registration, Study
from reconv.data.arrays import PreparedData
from reconv.data.packing import prepare
from reconv.data.sources import fetch
from reconv.evaluation.compare import compare
from reconv.registry.ledger import comparisons
from reconv.registry.opening import open_registry
from reconv.registry.outcome import Outcome
from reconv.registry.register import register
from reconv.tracking.opening import open_stage_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(make_prepared) -> PreparedData:
    """45 test images, and too few validation images for a screen."""
    return make_prepared(60, changes={"data.validation": 0.05})


@pytest.fixture
def registered(params) -> Callable[..., Registration]:
    """registered(outcome, data): the stage's call, in the store that the environment names by then."""

    def call(outcome: Outcome, data: PreparedData) -> Registration:
        with open_stage_run(params, "register", None, lambda _: None) as run:
            return register(outcome, data, params, run, open_registry(params))

    return call


def use_another_store(monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{Path('other.db').resolve()}")


def test_a_champion_is_registered_again_in_an_empty_store_and_the_count_goes_on(
    make_outcome, data, params, registered, monkeypatch
) -> None:
    registered(make_outcome(data, epochs=1, lr=1e-7), data)
    registry = open_registry(params)
    registry.promote(registry.version("1"), "by hand", "the first")
    winner = make_outcome(data, epochs=6)
    won = registered(winner, data)
    assert (won.alias, won.comparison.number) == ("champion", 2)

    use_another_store(monkeypatch)
    again = registered(replace(winner, registered=won), data)

    assert (again.version, again.alias, again.contest) == (1, "champion", won.contest)
    assert again.reason.startswith("registered again: it had beaten version 1")
    once_more = registered(replace(winner, registered=again), data)
    assert (once_more.version, once_more.comparison, once_more.contest) == (1, won.comparison, won.contest)
    assert len(comparisons(open_registry(params))) == 1
    assert registered(make_outcome(data, epochs=1, seed=1), data).contest.number == 3


def test_the_first_champion_is_decided_at_the_level_of_the_first_time(
    make_outcome, data, params, registered, monkeypatch
) -> None:
    outcome = make_outcome(data, epochs=6)
    first = registered(outcome, data)
    use_another_store(monkeypatch)

    again = registered(replace(outcome, registered=first), data)

    assert (again.alias, again.reason, again.comparison) == (first.alias, first.reason, first.comparison)
    assert len(comparisons(open_registry(params))) == 1


def test_a_better_champion_of_another_store_is_not_replaced(
    make_outcome, data, params, registered, monkeypatch
) -> None:
    recorded = registered(make_outcome(data, epochs=1, seed=1), data).model_copy(update={"alias": "champion"})
    use_another_store(monkeypatch)
    registered(make_outcome(data, epochs=6), data)
    weak = make_outcome(data, epochs=1, seed=1)  # trained again: its weights are where the other's were

    again = registered(replace(weak, registered=recorded), data)

    assert (again.alias, again.contest.champion) == ("challenger", "1")
    assert open_registry(params).champion().number == 1


@pytest.fixture(scope="module")
def shuffled(tmp_path_factory, write_image_folder, tiny_params) -> PreparedData:
    """Images whose labels say nothing, 60% of them of one class."""
    root = tmp_path_factory.mktemp("shuffled")
    images = sorted(write_image_folder(root / "all", 60).rglob("*.png"))
    np.random.default_rng(0).shuffle(images)
    for number, path in enumerate(images):
        name = "left" if number % 10 < 6 else "middle" if number % 10 < 8 else "right"
        (root / "images" / name).mkdir(parents=True, exist_ok=True)
        path.rename(root / "images" / name / path.name)
    params = tiny_params.data.model_copy(update={"source": f"folder:{root / 'images'}"})
    fetch(params.source, None, root / "raw", lambda _: None)
    prepare(params, root / "raw", root / "prepared", root / "decoded", lambda *_: None)
    return PreparedData(root / "prepared")


def test_networks_trained_on_shuffled_labels_are_no_champions(
    make_outcome, shuffled, params, registered, make_budget, make_conditions
) -> None:
    outcome = make_outcome(shuffled, epochs=6)
    no_study = Study(
        enabled=False, profile="", num_seeds=0, max_epochs=0, confidence=0, findings=(), device_seconds=0, energy=None
    )
    verdict = compare(
        outcome.predictions,
        dict.fromkeys(outcome.predictions, make_budget()),
        dict.fromkeys(outcome.predictions, make_conditions(seeds=(0,))),
        no_study,
        shuffled.manifest.class_names,
        dict(zip(shuffled.manifest.class_names, np.bincount(shuffled.train.labels).tolist(), strict=True)),
        params.compare,
    )

    result = registered(replace(outcome, verdict=verdict), shuffled)

    assert verdict.guessing.class_name == "left"
    assert verdict.guessing.accuracy == pytest.approx(0.6, abs=0.05)
    assert verdict.text.startswith("Neither network is ")
    assert "better than guessing: always answering “left” is right on" in verdict.text
    assert result.alias == "challenger"
    assert "is not proven better than guessing" in result.reason
    (version,) = open_registry(params).versions()
    assert version.tags["better_than_guessing"] == "no"
    assert version.tags["guessing_accuracy"] == f"{verdict.guessing.accuracy:.6f}"
