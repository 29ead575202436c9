"""The networks. To add one: a file with a function of (params, input_shape, num_classes), a row here, a section in
params.py and params.yaml, its name in dvc.yaml."""

from collections.abc import Callable
from typing import Any

from torch import nn

from reconv.models.cnn import build_cnn
from reconv.models.feedforward import build_feedforward
from reconv.models.transfer import build_transfer
from reconv.params import CnnParams, TransferParams

InputShape = tuple[int, int, int]


def _build_cnn(params: CnnParams | TransferParams, input_shape: InputShape, num_classes: int) -> nn.Module:
    build: Callable[[Any, InputShape, int], nn.Module] = (
        build_transfer if isinstance(params, TransferParams) else build_cnn
    )
    return build(params, input_shape, num_classes)


MODELS: dict[str, Callable[[Any, InputShape, int], nn.Module]] = {
    "cnn": _build_cnn,
    "feedforward": build_feedforward,
}
"""Name in params.yaml -> what builds it for inputs of (height, width, channels)."""
