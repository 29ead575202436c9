"""The registered model without importing MLflow, which takes 2 s of CPU time: from a local store's tables, where there
is one. Called by `reconv doctor`, `retrain` and before each run.
"""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass

from reconv.params import Params, ResourcesParams
from reconv.registry.changes import Change, changes_in
from reconv.registry.version import CANDIDATE, TEST_ACCURACY, Version
from reconv.tracking.local_store import file_of
from reconv.tracking.opening import model_name, model_name_of_old
from reconv.tracking.server import check_tracking, is_there, tracking_uri

_ELSEWHERE = ("MLFLOW_REGISTRY_URI", "MLFLOW_WORKSPACE")
"""Variables with which MLflow looks into other tables."""
_OF_MODEL = "WHERE workspace = 'default' AND name = ?"
_VERSIONS = f"""
    SELECT version, run_id, description, creation_time FROM model_versions
    {_OF_MODEL} AND current_stage IS NOT 'Deleted_Internal' ORDER BY version DESC
"""
_ALIASES = f"SELECT version, alias FROM registered_model_aliases {_OF_MODEL} ORDER BY alias"
_VERSION_TAGS = f"SELECT version, key, value FROM model_version_tags {_OF_MODEL} AND key IN (?, ?)"
_TAGS = f"SELECT key, value FROM registered_model_tags {_OF_MODEL}"


@dataclass(frozen=True)
class Glance:
    """A registered model, which need not exist."""

    name: str
    versions: tuple[Version, ...] = ()
    """The newest first. From a local store's tables they have only the tags of accuracy and candidate."""
    changes: tuple[Change, ...] = ()

    @property
    def champion(self) -> Version | None:
        return next((one for one in self.versions if one.is_champion), None)


def glance_at_champion(params: Params) -> Glance:
    """Return the model that `open_registry` finds; errors as of `glance`."""
    found = glance(params.resources, model_name(params))
    if found.versions or params.register_.name != "auto":
        return found
    of_old = glance(params.resources, model_name_of_old(params))
    return of_old if of_old.versions else found


def glance(resources: ResourcesParams, name: str) -> Glance:
    """Return what is registered as `name`. Makes no store.

    Raises:
        UnavailableError: the store cannot be used.
        RegistryError: no model can have that name.
    """
    if not is_there(resources):
        return Glance(name)
    check_tracking(resources, writes=False)
    return _from_tables(resources, name) or _from_mlflow(resources, name)


def _from_tables(resources: ResourcesParams, name: str) -> Glance | None:
    """Return None for a server, and for tables that are not as this MLflow's."""
    path = file_of(tracking_uri(resources))
    if path is None or any(map(os.environ.get, _ELSEWHERE)):
        return None
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1)) as store:
            return _read(store, name)
    except sqlite3.Error:
        return None


def _read(store: sqlite3.Connection, name: str) -> Glance:
    tags: dict[int, dict[str, str]] = {}
    for version, key, value in store.execute(_VERSION_TAGS, (name, CANDIDATE, TEST_ACCURACY)):
        tags.setdefault(version, {})[key] = value
    aliases: dict[int, list[str]] = {}
    for version, alias in store.execute(_ALIASES, (name,)):
        aliases.setdefault(version, []).append(alias)
    versions = [
        Version(number, tuple(aliases.get(number, ())), run_id or "", tags.get(number, {}), text or "", created / 1000)
        for number, run_id, text, created in store.execute(_VERSIONS, (name,))
    ]
    return Glance(name, tuple(versions), tuple(changes_in(dict(store.execute(_TAGS, (name,))))))


def _from_mlflow(resources: ResourcesParams, name: str) -> Glance:
    from reconv.registry.opening import registry_at
    from reconv.tracking.remedies import unavailable

    try:
        registry = registry_at(name, resources)
        return Glance(name, tuple(registry.versions()), tuple(registry.changes()))
    except Exception as error:  # whatever the store's client raises
        raise unavailable(tracking_uri(resources), error) from None
