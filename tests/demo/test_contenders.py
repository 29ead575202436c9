"""Who answers: from a registry with a champion, from one that lost the opponent, from a folder."""

import shutil
from contextlib import chdir
from pathlib import Path

import pytest
import yaml
from registry.conftest import outcome_of

from reconv.demo.contenders import contenders_of
from reconv.errors import RegistryError
from reconv.places import seed_dir
from reconv.registry.opening import open_registry
from reconv.registry.register import register
from reconv.tracking.opening import open_stage_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def registered(tmp_path_factory, make_prepared, tiny_params) -> Path:
    """A project whose champion is a CNN."""
    folder, data = tmp_path_factory.mktemp("registered"), make_prepared(60)
    values = tiny_params.model_dump(mode="json", by_alias=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    with chdir(folder):
        outcome = outcome_of(data, tiny_params, epochs=6, seed=0, lr=1e-2)
        with open_stage_run(tiny_params, "register", None, lambda _: None) as run:
            assert register(outcome, data, tiny_params, run, open_registry(tiny_params)).alias == "champion"
    return folder


def test_the_champion_meets_the_baseline_of_its_own_run(registered, monkeypatch):
    monkeypatch.chdir(registered)

    found = contenders_of("champion")

    champion, baseline = found.all
    assert (champion.role, champion.title, champion.is_calibrated) == ("champion", "Convolutional network", True)
    assert champion.origin.endswith("version 1")
    assert (baseline.role, baseline.title, baseline.is_calibrated) == ("baseline", "Feed-forward network", True)
    assert found.conversion == champion.answering.conversion
    assert found.why_alone == ""


def test_where_the_opponent_is_gone_it_says_so(registered, monkeypatch):
    monkeypatch.chdir(registered)
    for kept in [*registered.rglob("opponent")]:  # of the run, and what was fetched of it
        shutil.rmtree(kept)

    found = contenders_of("1")

    assert found.opponent is None
    assert "cannot be fetched" in found.why_alone


def test_a_folder_has_no_opponent(registered, monkeypatch):
    monkeypatch.chdir(registered)

    found = contenders_of(str(seed_dir("cnn", 0)))

    assert (found.opponent, found.asked_for.role, found.asked_for.is_calibrated) == (None, "from a folder", False)
    assert "folder" in found.why_alone


def test_a_folder_without_a_classifier_is_refused(folder):
    with pytest.raises(RegistryError, match=r"model\.json is missing"):
        contenders_of(str(folder))
