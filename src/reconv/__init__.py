"""Is a convolutional network worth it on your images? The pipeline's stages are made of what is in here."""

import gc
import time
from typing import TYPE_CHECKING

from reconv.interruption import answer_ctrl_c

if TYPE_CHECKING:
    from reconv.serving.loaded import LoadedModel

IMPORTED_AT = time.time()
"""When this process began to load the code that a stage runs."""

# Imports make hundreds of thousands of objects that stay: collecting garbage after every 700 of them takes a fifth of
# the 6 s that torch and Lightning need, in every stage and every worker.
gc.set_threshold(100_000, 50, 50)
answer_ctrl_c()


def load_model(model: str) -> "LoadedModel":
    """Load a registered model after checking its files against the registry; none of the code stored with it runs.

    `model` is what commands take as --model: models:/NAME@ALIAS, a version's number, an alias or a folder.

    Raises:
        RegistryError: there is no such model, or its files are not those that were registered.
        DataError: a file holds a value that cannot be used.
    """
    import warnings

    from reconv.registry.resolving import resolve
    from reconv.serving.loaded import LoadedModel

    resolved = resolve(model)
    if resolved.warning:
        warnings.warn(resolved.warning, stacklevel=2)
    return LoadedModel(resolved.bundle)
