"""The registered model as MLflow loads it: raw images or image files in, classes with calibrated probabilities out.

MLflow runs this file by itself ("models from code"), so that nothing is unpickled when a model is loaded.
"""

from pathlib import Path

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext

from reconv.serving.loaded import LoadedModel
from reconv.serving.requests import RequestError

BUNDLE = "classifier"
"""Name of the artifact: a folder as reconv.serving.bundle writes it."""


class ServedClassifier(PythonModel):  # type: ignore[misc]
    def load_context(self, context: PythonModelContext) -> None:
        self._model = LoadedModel(Path(context.artifacts[BUNDLE]))

    def predict(  # type: ignore[no-untyped-def]  # MLflow would take a hint for a schema, and complain of it
        self, context, model_input, params=None
    ) -> pd.DataFrame:
        """As of LoadedModel.

        Raises:
            MlflowException: it is not what can be answered; a server answers 400 and says what.
        """
        try:
            return self._model.predict(model_input)
        except RequestError as error:
            raise MlflowException(f"{error}.", error_code=INVALID_PARAMETER_VALUE) from None


set_model(ServedClassifier())
