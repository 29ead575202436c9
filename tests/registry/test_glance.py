"""The champion that the tables show is the one that MLflow's client finds."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from reconv.params import Params
from reconv.registry import glance
from reconv.registry.glance import Glance, glance_at_champion
from reconv.registry.opening import open_registry
from reconv.tracking.opening import model_name_of_old
from reconv.tracking.server import connect, tracking_uri


def register(params: Params, name: str, versions: int, champion: int | None) -> None:
    client = connect(tracking_uri(params.resources))
    client.create_registered_model(name)
    for number in range(1, versions + 1):
        client.create_model_version(name, "file:///gone", tags={"test_accuracy": f"0.{number}", "other": "1"})
    if champion:
        client.set_registered_model_alias(name, "champion", str(champion))
        client.set_registered_model_alias(name, "challenger", str(versions))


Seen = tuple[str, int | None, str]


def found_by_mlflow(params: Params) -> Seen:
    registry = open_registry(params)
    champion = registry.champion()
    return (registry.name, *((champion.number, champion.tags["test_accuracy"]) if champion else (None, "")))


def found_at_a_glance(params: Params) -> Seen:
    found = glance_at_champion(params)
    champion = found.champion
    return (found.name, *((champion.number, champion.tags["test_accuracy"]) if champion else (None, "")))


@pytest.fixture
def only_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client may not be asked."""
    monkeypatch.delattr(glance, "_from_mlflow")


@pytest.mark.parametrize(("versions", "champion"), [(0, None), (2, None), (3, 2)])
def test_both_say_the_same(params: Params, only_tables: None, versions: int, champion: int | None) -> None:
    register(params, "images", versions, champion)

    assert found_at_a_glance(params) == found_by_mlflow(params)
    assert found_at_a_glance(params)[1] == champion


def test_versions_and_changes_are_those_that_mlflow_knows(params: Params, only_tables: None) -> None:
    register(params, "images", 3, None)
    registry = open_registry(params)
    registry.promote(registry.version("2"), "by hand", "why")

    found = glance_at_champion(params)

    kept = [replace(one, tags={"test_accuracy": one.tags["test_accuracy"]}) for one in registry.versions()]
    assert list(found.versions) == kept
    assert list(found.changes) == registry.changes()


def test_a_deleted_version_is_no_champion(params: Params, only_tables: None) -> None:
    register(params, "images", 2, 2)
    connect(tracking_uri(params.resources)).delete_model_version("images", "2")

    assert found_at_a_glance(params) == found_by_mlflow(params) == ("images", None, "")


def test_a_name_of_an_earlier_version_is_found(make_params: Callable[..., Params], only_tables: None) -> None:
    params = make_params({"data.source": "folder:some/images"})
    register(params, model_name_of_old(params), 1, 1)

    assert found_at_a_glance(params) == found_by_mlflow(params) == ("folder-some-images", 1, "0.1")


def test_no_store_is_made(params: Params) -> None:
    assert glance_at_champion(params) == Glance("images")
    assert not glance.is_there(params.resources)


def test_tables_of_another_kind_are_left_to_mlflow(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    register(params, "images", 1, 1)
    monkeypatch.setattr(glance, "_ALIASES", "SELECT renamed FROM registered_model_aliases")

    assert found_at_a_glance(params) == ("images", 1, "0.1")
