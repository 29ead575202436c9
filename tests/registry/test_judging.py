"""The screen on validation images, registering the same winner again, and networks that only guess, in real stores."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from reconv.artifacts import PairedTest, Registration, Study
from reconv.data.arrays import PreparedData
from reconv.data.packing import prepare
from reconv.data.sources import fetch
from reconv.evaluation.compare import compare
from reconv.files import read_arrays, write_arrays
from reconv.registry.checksums import FILES_SHA256
from reconv.registry.judging import judge
from reconv.registry.ledger import comparisons
from reconv.registry.opening import open_registry
from reconv.registry.outcome import Outcome
from reconv.registry.reference import content_hashes, load_reference
from reconv.registry.register import register
from reconv.registry.version import CONTEST, SCREEN
from reconv.serving.bundle import REFERENCE
from reconv.tracking.opening import open_stage_run
from reconv.tracking.server import tracking_uri

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


@pytest.fixture(scope="module")
def screened(make_prepared) -> PreparedData:
    """45 test images, and 33 validation images: enough for a screen."""
    return make_prepared(60)


def test_a_candidate_that_is_not_ahead_on_validation_images_uses_up_no_comparison(
    make_outcome, screened, params, registered, monkeypatch
) -> None:
    first = registered(make_outcome(screened, epochs=6), screened)
    worse = replace(make_outcome(screened, epochs=1, seed=1), registered=first)
    registry = open_registry(params)

    lost = registered(worse, screened)

    assert (lost.version, lost.alias, lost.contest) == (2, "challenger", None)
    assert (lost.screen.champion, lost.screen.num_images) == ("1", len(screened.validation))
    assert lost.screen.p_value > lost.screen.level
    assert "33 validation images" in lost.reason
    assert "No comparison on them was used up" in lost.reason
    assert len(comparisons(registry)) == 1
    version = registry.version("2")
    assert lost.reason in version.description
    assert PairedTest.model_validate_json(version.tags[SCREEN]) == lost.screen
    assert CONTEST not in version.tags

    use_another_store(monkeypatch)
    again = registered(replace(worse, registered=lost), screened)  # there is no champion, and the count goes on
    assert (again.screen, again.comparison.number) == (None, first.comparison.number + 1)


def test_a_candidate_that_is_ahead_on_validation_images_is_compared_on_the_test_images(
    make_outcome, screened, params, registered
) -> None:
    registered(make_outcome(screened, epochs=1, lr=1e-7), screened)
    registry = open_registry(params)
    registry.promote(registry.version("1"), "by hand", "the first")
    better = make_outcome(screened, epochs=6)

    won = registered(better, screened)
    again = registered(replace(better, registered=won), screened)

    assert won.screen.is_passed
    assert won.contest.is_passed
    assert (won.alias, won.contest.number, won.contest.num_images) == ("champion", 2, len(screened.test))
    assert (again.screen, again.contest) == (won.screen, won.contest)


def test_validation_images_that_the_champion_was_trained_on_do_not_count(
    make_outcome, screened, make_prepared, params, registered
) -> None:
    """With another split of the same images. An earlier reconv did not write down which they are."""
    registered(make_outcome(screened, epochs=6), screened)
    other = make_prepared(60, changes={"data.seed": 1})
    outcome = make_outcome(other, epochs=6, seed=1)
    registry = open_registry(params)

    with judge(outcome, other, params, registry) as judged:
        counted = judged.judgement.screen.num_images
    champion = registry.bundle(registry.champion())
    unseen = ~np.isin(content_hashes(other.validation.images), load_reference(champion).trained)
    assert 0 < counted == unseen.sum() < len(other.validation)

    arrays = read_arrays(champion / REFERENCE)
    write_arrays(champion / REFERENCE, {name: array for name, array in arrays.items() if name != "validation"})
    # Otherwise its checksums would not allow the change.
    MlflowClient(tracking_uri(params.resources)).delete_model_version_tag(registry.name, "1", FILES_SHA256)
    with judge(make_outcome(screened, epochs=1, seed=1), screened, params, registry) as judged:
        decision, comparison, contest, screen = judged.judgement
    assert (screen, comparison.number, contest.number) == (None, 2, 2)
    assert (
        "There was no screen on validation images: 0 validation images are known to be new to both" in decision.reason
    )


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
