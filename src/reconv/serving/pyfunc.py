"""The registered model as MLflow loads it: raw images or image files in, classes with calibrated probabilities out.

MLflow runs this file by itself ("models from code"), so that nothing is unpickled when a model is loaded.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext

from reconv.serving.answering import Answering
from reconv.serving.requests import RequestError, images_of

BUNDLE = "classifier"
"""Name of the artifact: a folder as reconv.serving.bundle writes it."""


class ServedClassifier(PythonModel):  # type: ignore[misc]
    def load_context(self, context: PythonModelContext) -> None:
        self._answering = Answering(Path(context.artifacts[BUNDLE]))

    def predict(  # type: ignore[no-untyped-def]  # MLflow would take a hint for a schema, and complain of it
        self, context, model_input, params=None
    ) -> pd.DataFrame:
        """What `images_of` reads -> a row per image: class, confidence, and every class's probability by its name.

        Raises:
            MlflowException: there is something else in it; a server answers 400 and says what.
        """
        answering = self._answering
        try:
            images = images_of(model_input, answering.conversion)
        except RequestError as error:
            raise MlflowException(f"{error}.", error_code=INVALID_PARAMETER_VALUE) from None
        probabilities_NK = answering.probabilities(images)
        names = answering.class_names
        return pd.DataFrame(
            {
                "class": np.array(names, object)[probabilities_NK.argmax(axis=1)],
                "confidence": probabilities_NK.max(axis=1),
                "probabilities": [dict(zip(names, row, strict=True)) for row in probabilities_NK.tolist()],
            }
        )


set_model(ServedClassifier())
