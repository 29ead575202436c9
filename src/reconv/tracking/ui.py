"""MLflow's pages as an app in this process. Called by `reconv ui`.

`mlflow ui` starts four processes that have the store's URI, with its password, on their command lines.
"""

import os
from typing import TYPE_CHECKING

from reconv.tracking.remedies import unavailable
from reconv.tracking.server import connect

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven processes that we do not use
}


def mlflow_pages(uri: str) -> "ASGIApp":
    """Return MLflow's server app for the store at `uri`, with the defaults of `mlflow ui`.

    Raises:
        UnavailableError: the store cannot be opened.
    """
    os.environ.update(_SETTINGS)
    try:
        connect(uri)
        from mlflow.server import constants, handlers

        root = "mlflow-artifacts:/"
        os.environ.update(
            {
                constants.BACKEND_STORE_URI_ENV_VAR: uri,
                constants.REGISTRY_STORE_URI_ENV_VAR: uri,
                constants.ARTIFACT_ROOT_ENV_VAR: root,
                constants.SERVE_ARTIFACTS_ENV_VAR: "true",
                constants.ARTIFACTS_DESTINATION_ENV_VAR: "./mlartifacts",
            }
        )
        handlers.initialize_backend_stores(uri, uri, root)
        from mlflow.server.fastapi_app import app
    except Exception as error:  # whatever the store's client raises
        raise unavailable(uri, error) from None
    return app  # type: ignore[no-any-return]
