"""The champion for `reconv doctor`: from a local store's tables, since importing MLflow takes 2 s of CPU time."""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass

from reconv.params import Params
from reconv.tracking.local_store import file_of
from reconv.tracking.opening import model_name, model_name_of_old
from reconv.tracking.server import check_tracking, is_there, tracking_uri

_ACCURACY = "test_accuracy"
_ELSEWHERE = ("MLFLOW_REGISTRY_URI", "MLFLOW_WORKSPACE")
"""Variables with which MLflow looks into other tables."""
_EXISTS = "SELECT count(*) FROM registered_models WHERE workspace = 'default' AND name = ?"
_CHAMPION = """
    SELECT one.version, tag.value FROM registered_model_aliases AS alias
    JOIN model_versions AS one USING (workspace, name, version)
    LEFT JOIN model_version_tags AS tag
        ON (tag.workspace, tag.name, tag.version) = (one.workspace, one.name, one.version) AND tag.key = ?
    WHERE alias.workspace = 'default' AND alias.name = ? AND alias.alias = ?
        AND one.current_stage IS NOT 'Deleted_Internal'
"""


@dataclass(frozen=True)
class Glance:
    name: str
    number: int | None
    """The champion's version; None if there is none."""
    accuracy: str = ""


def glance_at_champion(params: Params) -> Glance:
    """Return the champion that `open_registry` finds. Makes no store.

    Raises:
        UnavailableError: the store cannot be used.
        RegistryError: no model can have that name.
    """
    if not is_there(params.resources):
        return Glance(model_name(params), None)
    check_tracking(params.resources, writes=False)
    return _from_tables(params) or _from_mlflow(params)


def _from_tables(params: Params) -> Glance | None:
    """None for a server, and for tables that are not as this MLflow's."""
    path = file_of(tracking_uri(params.resources))
    if path is None or any(map(os.environ.get, _ELSEWHERE)):
        return None
    names = [model_name(params)]
    if params.register_.name == "auto":
        names.append(model_name_of_old(params))
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1)) as store:
            name = next((name for name in names if store.execute(_EXISTS, (name,)).fetchone()[0]), names[0])
            found = store.execute(_CHAMPION, (_ACCURACY, name, "champion")).fetchone()
    except sqlite3.Error:
        return None
    return Glance(name, *((int(found[0]), found[1] or "") if found else (None, "")))


def _from_mlflow(params: Params) -> Glance:
    from reconv.registry.opening import open_registry

    registry = open_registry(params)
    champion = registry.champion()
    if champion is None:
        return Glance(registry.name, None)
    return Glance(registry.name, champion.number, champion.tags.get(_ACCURACY, ""))
