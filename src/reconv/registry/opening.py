"""The registry that params.yaml and the environment name, for stages and commands."""

from reconv.params import THIS_MACHINE, Params, ResourcesParams
from reconv.registry.registry import Registry
from reconv.tracking.opening import model_name
from reconv.tracking.server import client_of


def open_registry(params: Params, name: str | None = None) -> Registry:
    """Of the registered model of params.yaml, or of `name`.

    Raises:
        UnavailableError: the tracking server does not answer.
    """
    return registry_at(name or model_name(params), params.resources)


def registry_at(name: str, resources: ResourcesParams = THIS_MACHINE) -> Registry:
    """The registered model `name` of the server that MLFLOW_TRACKING_URI or `resources` names.

    Raises:
        UnavailableError: it does not answer.
    """
    return Registry(client_of(resources), name)
