import pytest

from reconv.params import DataParams, Params


@pytest.fixture
def data(params: Params) -> DataParams:
    return params.data.model_copy(update={"image_size": 64})
