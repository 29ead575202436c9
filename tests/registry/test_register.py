"""Versions, champions and comparisons in a real store, through what the stage `register` calls."""

from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from reconv.artifacts import Registration
from reconv.registry.checksums import FILES_SHA256
from reconv.registry.judging import judge
from reconv.registry.ledger import comparisons
from reconv.registry.reference import content_hashes, load_reference
from reconv.registry.register import register
from reconv.tracking.opening import open_stage_run
from reconv.tracking.server import tracking_uri

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(make_prepared):
    """45 test images, and too few validation images for a screen."""
    return make_prepared(60, changes={"data.validation": 0.05})


@pytest.fixture
def registered(params, registry):
    """registered(outcome, data): the stage's call."""

    def call(outcome, data, registry=registry) -> Registration:
        with open_stage_run(params, "register", None, lambda _: None) as run:
            return register(outcome, data, params, run, registry)

    return call


def test_the_first_winner_becomes_champion_and_the_same_again_is_nothing_new(make_outcome, data, registered, registry):
    outcome = make_outcome(data, epochs=6)

    first, again = registered(outcome, data), registered(outcome, data)

    assert (first.version, first.alias, first.contest, first.replaced) == (1, "champion", None, None)
    assert (again.version, again.alias) == (1, "champion")
    assert "the champion already" in again.reason
    (version,) = registry.versions()
    assert version.is_champion
    assert version.tags["test_accuracy"] == f"{outcome.metrics['cnn'].accuracy.seeds[0]:.6f}"
    assert [(change.version, change.kind) for change in registry.changes()] == [(1, "promoted")]


def test_a_candidate_that_is_not_better_is_a_challenger_and_counts_as_a_comparison(
    make_outcome, data, registered, registry
):
    registered(make_outcome(data, epochs=6), data)

    lost = registered(make_outcome(data, epochs=1, seed=1), data)

    assert (lost.version, lost.alias) == (2, "challenger")
    assert lost.contest is not None
    assert lost.contest.champion == "1"
    assert lost.contest.number == 2
    assert "no screen on validation images: 6 validation images are known to be new to both, at least 10" in lost.reason
    assert registry.champion().number == 1
    assert {entry["number"] for entry in comparisons(registry).values()} == {1, 2}


def test_a_candidate_that_is_better_takes_the_champions_place_and_can_be_taken_back(
    make_outcome, data, registered, registry
):
    registered(make_outcome(data, epochs=1, lr=1e-7), data)
    registry.promote(registry.version("1"), "by hand", "the first")

    won = registered(make_outcome(data, epochs=6), data)

    assert won.contest.p_value <= won.contest.level
    assert (won.alias, won.replaced, registry.champion().number) == ("champion", 1, 2)
    before, after = registry.roll_back("its answers look odd")
    assert (before.number, after.number, registry.champion().number) == (2, 1, 1)
    assert registry.changes()[-1].reason == "its answers look odd"


def test_an_interruption_after_the_version_was_made_goes_on_with_that_version(
    make_outcome, data, registered, registry, monkeypatch
):
    outcome = make_outcome(data, epochs=6)

    def fail(*_):
        raise ConnectionError

    with monkeypatch.context() as broken:
        broken.setattr(type(registry), "promote", fail)
        with pytest.raises(ConnectionError):
            registered(outcome, data)
    assert registry.champion() is None

    assert registered(outcome, data).version == 1
    assert len(registry.versions()) == 1
    assert registry.champion().number == 1
    assert len(comparisons(registry)) == 1


def test_what_would_become_of_it_is_known_without_registering_and_is_the_same_comparison_later(
    make_outcome, data, params, registered, registry
):
    outcome = make_outcome(data, epochs=6)

    with judge(outcome, data, params, registry) as judged:
        assert judged.judgement.decision.alias == "champion"
    assert registry.versions() == []
    assert len(comparisons(registry)) == 1

    assert registered(outcome, data).reason == judged.judgement.decision.reason
    assert len(comparisons(registry)) == 1


def test_images_that_the_champion_was_trained_on_do_not_count(
    make_outcome, data, make_prepared, registered, registry, monkeypatch
):
    """Another split of the same images tests with many of them."""
    first, other = data, make_prepared(60, changes={"data.seed": 1, "data.validation": 0.05})
    registered(make_outcome(first, epochs=6), first)

    contested = registered(make_outcome(other, epochs=6, seed=1), other).contest

    trained_on = load_reference(registry.bundle(registry.version("1"))).development
    unseen = ~np.isin(content_hashes(other.test.images), trained_on)
    assert 0 < unseen.sum() < len(other.test)
    assert contested.num_images == unseen.sum()


def test_a_test_set_of_other_images_begins_to_count_anew(make_outcome, data, make_prepared, registered, registry):
    first, fresh = data, make_prepared(60, seed=5, changes={"data.validation": 0.05})
    registered(make_outcome(first, epochs=6), first)
    assert registered(make_outcome(first, epochs=1, seed=1), first).contest.number == 2

    assert registered(make_outcome(fresh, epochs=6, seed=2), fresh).contest.number == 1


def test_a_champion_of_other_classes_is_no_rival(make_outcome, data, registered, registry, params):
    registered(make_outcome(data, epochs=6), data)
    champion = registry.bundle(registry.champion())
    # Otherwise its checksums would not allow the change.
    MlflowClient(tracking_uri(params.resources)).delete_model_version_tag(registry.name, "1", FILES_SHA256)
    described = (champion / "model.json").read_text()
    (champion / "model.json").write_text(described.replace('"left"', '"sideways"'))

    assert registered(make_outcome(data, epochs=1, seed=1), data).contest is None


def test_a_champion_of_another_range_of_values_is_no_rival(make_outcome, data, registered, monkeypatch):
    registered(make_outcome(data, epochs=6), data)
    ranged = data.manifest.model_copy(update={"value_range": (0, 4095)})
    monkeypatch.setattr(data, "manifest", ranged)

    assert registered(make_outcome(data, epochs=1, seed=1), data).contest is None


def test_the_model_of_before_is_kept_with_its_opponent(make_outcome, data, registered, registry, params):
    registered(make_outcome(data, epochs=6), data)

    run_id = registry.version("champion").run_id
    files = {file.path for file in MlflowClient(tracking_uri(params.resources)).list_artifacts(run_id, "opponent")}
    assert files == {f"opponent/{name}" for name in ("model.json", "served.json", "weights.safetensors")}
    assert (Path(registry.bundle(registry.version("1"))) / "served.json").exists()
    assert (registry.opponent(registry.version("1")) / "weights.safetensors").exists()
