"""What counts as lost, from the tables of a real store; the commands are in tests/pipeline/test_lost_registry.py."""

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from reconv.artifacts import Comparison, Registration
from reconv.places import REGISTERED
from reconv.registry.lost import what_is_lost
from reconv.registry.opening import open_registry
from reconv.tracking.server import connect, tracking_uri

COMPARISON = Comparison(candidate="a" * 64, champion=None, champion_candidate="", number=1, test_set="b" * 16)


@pytest.fixture
def client(params) -> MlflowClient:
    """Of a store with two versions, of which the second is champion, as results/register.json says."""
    client = connect(tracking_uri(params.resources))
    client.create_registered_model("images")
    for identity in ("0" * 64, "a" * 64):
        client.create_model_version("images", "file:///gone", tags={"reconv.candidate": identity})
    client.set_registered_model_alias("images", "champion", "2")
    write("champion")
    return client


def write(alias: str, **changes) -> None:
    usual = {"name": "images", "version": 2, "alias": alias, "model": "cnn", "seed": 0, "run_id": "r", "reason": ""}
    Registration(**{**usual, "contest": None, "replaced": None, "comparison": COMPARISON, **changes}).save(REGISTERED)


def test_all_is_there(client, params) -> None:
    assert what_is_lost(params.resources) == ""


def test_nothing_was_registered_here(params) -> None:
    assert what_is_lost(params.resources) == ""


@pytest.mark.parametrize(
    ("lose", "said"),
    [
        (lambda client: Path("mlflow.db").unlink(), "version 2 is not in"),
        (lambda client: client.delete_model_version("images", "2"), "version 2 is not in"),
        (lambda client: client.delete_registered_model("images"), "version 2 is not in"),
        (lambda client: client.set_model_version_tag("images", "2", "reconv.candidate", "c"), "is another model in"),
        (lambda client: client.delete_registered_model_alias("images", "champion"), "was the champion, and"),
    ],
    ids=["store", "version", "model", "another", "alias"],
)
def test_each_loss_is_named(client, params, lose, said) -> None:
    lose(client)

    assert said in what_is_lost(params.resources)
    assert "mlflow.db" in what_is_lost(params.resources)


def test_a_candidate_that_was_screened_out_is_known_by_itself_not_by_the_comparison_before(client, params) -> None:
    write("challenger", identity="a" * 64, comparison=COMPARISON.model_copy(update={"candidate": "f" * 64}))
    assert what_is_lost(params.resources) == ""

    client.set_model_version_tag("images", "2", "reconv.candidate", "c")
    assert "is another model in" in what_is_lost(params.resources)


def test_a_champion_moved_by_hand_is_no_loss(client, params) -> None:
    client.set_registered_model_alias("images", "champion", "1")

    assert what_is_lost(params.resources) == ""


def test_a_challenger_without_a_champion_is_no_loss(client, params) -> None:
    client.delete_registered_model_alias("images", "champion")
    write("challenger")

    assert what_is_lost(params.resources) == ""


def test_what_was_taken_back_and_deleted_is_no_loss(client, params) -> None:
    registry = open_registry(params)
    registry.promote(registry.version("1"), "by hand", "first")
    registry.promote(registry.version("2"), "promoted", "")
    registry.roll_back("bad")
    client.delete_model_version("images", "2")

    assert what_is_lost(params.resources) == ""


def test_a_file_of_an_earlier_version_has_no_candidate_to_compare(client, params) -> None:
    write("champion", comparison=None)
    client.set_model_version_tag("images", "2", "reconv.candidate", "c")

    assert what_is_lost(params.resources) == ""


def test_looking_makes_no_store(params) -> None:
    write("champion")

    assert "is not in" in what_is_lost(params.resources)
    assert not Path("mlflow.db").exists()
