"""A folder of images, and the parameters that name it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reconv.params import DataParams, Params


@pytest.fixture
def data(params: Params) -> DataParams:
    """Of folder:images."""
    return params.data


@pytest.fixture
def images(write_image_folder: Callable[..., Path]) -> Path:
    """20 of each of three classes."""
    return write_image_folder(Path("images"))
