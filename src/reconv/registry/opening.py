"""The registry that params.yaml and the environment name, for stages and commands."""

from reconv.params import THIS_MACHINE, Params, ResourcesParams
from reconv.registry.registry import Registry
from reconv.tracking.opening import model_name, model_name_of_old
from reconv.tracking.server import client_of


def open_registry(params: Params, name: str | None = None) -> Registry:
    """Open the registry of the model named in params.yaml, or of `name`. A model that an earlier reconv registered
    under its own name for this source is found, too.

    Raises:
        UnavailableError: the tracking server does not answer.
    """
    registry = registry_at(name or model_name(params), params.resources)
    if name or params.register_.name != "auto" or registry.exists():
        return registry
    of_old = registry_at(model_name_of_old(params), params.resources)
    return of_old if of_old.exists() else registry


def registry_at(name: str, resources: ResourcesParams = THIS_MACHINE) -> Registry:
    """The registered model `name` of the server that MLFLOW_TRACKING_URI or `resources` names.

    Raises:
        UnavailableError: it does not answer.
    """
    return Registry(client_of(resources), name)
