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


class _TooLarge(MlflowException):  # type: ignore[misc]
    """An error with status 413, for which MLflow has no code, without the request that MLflow would repeat in it."""

    def __init__(self, said: str) -> None:
        super().__init__(said, error_code=INVALID_PARAMETER_VALUE)
        self._said = said

    def get_http_status_code(self) -> int:
        return 413

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
        except RequestTooLargeError as error:
            raise _TooLarge(f"{error}.") from None
        except RequestError as error:
            raise MlflowException(f"{error}.", error_code=INVALID_PARAMETER_VALUE) from None


set_model(ServedClassifier())
