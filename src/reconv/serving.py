"""The registered model as MLflow loads it: raw uint8 images in, classes with probabilities out.

MLflow runs this file by itself ("models from code"), so that nothing is unpickled when a model is loaded.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from reconv.models.classifier import load_classifier

CLASSIFIER = "classifier"
"""Name of the artifact: a folder with weights.safetensors and model.json."""


class ServedClassifier(PythonModel):  # type: ignore[misc]
    def load_context(self, context: PythonModelContext) -> None:
        self._classifier = load_classifier(Path(context.artifacts[CLASSIFIER]))
        self._class_names = np.array(self._classifier.arguments["class_names"])

    def predict(  # type: ignore[no-untyped-def]  # MLflow would take a hint for a schema, and complain of it
        self, context, model_input, params=None
    ) -> pd.DataFrame:
        """uint8 (images, height, width, channels) -> a row per image: class, confidence, every class's probability."""
        images = torch.from_numpy(np.ascontiguousarray(model_input, dtype=np.uint8))
        with torch.inference_mode():
            probabilities = self._classifier(images).softmax(dim=1).double().numpy()
        return pd.DataFrame(
            {
                "class": self._class_names[probabilities.argmax(axis=1)],
                "confidence": probabilities.max(axis=1),
                "probabilities": list(probabilities),
            }
        )


set_model(ServedClassifier())
