"""The registry that params.yaml and the environment name, for stages and commands."""

from reconv.params import Params
from reconv.registry.registry import Registry
from reconv.tracking.opening import model_name
from reconv.tracking.server import check_tracking, connect, tracking_uri, unavailable


def open_registry(params: Params, name: str | None = None) -> Registry:
    """Of the registered model of params.yaml, or of `name`.

    Raises:
        UnavailableError: the tracking server does not answer.
    """
    check_tracking(params.resources)
    uri = tracking_uri(params.resources)
    try:
        return Registry(connect(uri), name or model_name(params))
    except Exception as error:  # whatever the store's client raises
        raise unavailable(uri, error) from None
