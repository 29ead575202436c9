"""The registered model as MLflow loads it: raw images or image files in, classes with calibrated probabilities out.

MLflow runs this file by itself ("models from code"), so that nothing is unpickled when a model is loaded.
"""

import json
from pathlib import Path

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext

from reconv.serving.loaded import LoadedModel
from reconv.serving.requests import RequestError, RequestTooLargeError

BUNDLE = "classifier"
"""Name of the artifact: a folder as reconv.serving.bundle writes it."""


class _RefusedError(MlflowException):  # type: ignore[misc]
    """An error with its own status, without the request that MLflow would repeat before the reason."""

    def __init__(self, said: str, status: int) -> None:
        super().__init__(said, error_code=INVALID_PARAMETER_VALUE)
        self._said, self._status = said, status

    def get_http_status_code(self) -> int:
        return self._status

    def serialize_as_json(self) -> str:
        return json.dumps({"error_code": self.error_code, "message": self._said})


class ServedClassifier(PythonModel):  # type: ignore[misc]
    def load_context(self, context: PythonModelContext) -> None:
        self._model = LoadedModel(Path(context.artifacts[BUNDLE]))

    def predict(  # type: ignore[no-untyped-def]  # MLflow would take a hint for a schema, and complain of it
        self, context, model_input, params=None
    ) -> pd.DataFrame:
        """Answer as `LoadedModel.predict` does.

        Raises:
            MlflowException: it cannot be answered or is too large; a server answers 400 or 413 and says why.
        """
        try:
            return self._model.predict(model_input)
        except RequestError as error:
            status = 413 if isinstance(error, RequestTooLargeError) else 400
            raise _RefusedError(f"{error}.", status) from None


set_model(ServedClassifier())
