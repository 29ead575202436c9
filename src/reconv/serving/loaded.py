"""A bundle that answers requests with a table. Called by the registered model and by `reconv.load_model`."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reconv.serving.answering import Answering
from reconv.serving.requests import images_of


class LoadedModel:
    """The classifier of a bundle. Raises DataError if the bundle is damaged."""

    def __init__(self, bundle: Path) -> None:
        self._answering = Answering(bundle)

    def predict(self, images: Any) -> pd.DataFrame:
        """Return a row per image of what `images_of` reads: class, confidence, and each class's probability by name.

        Raises:
            RequestError: it is anything else.
        """
        answering = self._answering
        probabilities_NK = answering.probabilities(images_of(images, answering.conversion))
        names = answering.class_names
        return pd.DataFrame(
            {
                "class": np.array(names, object)[probabilities_NK.argmax(axis=1)],
                "confidence": probabilities_NK.max(axis=1),
                "probabilities": [dict(zip(names, row, strict=True)) for row in probabilities_NK.tolist()],
            }
        )
