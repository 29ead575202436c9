"""The networks. To add one: a file with a function of (params, image_shape, num_classes), a row here, a section in
params.py and params.yaml, its name in dvc.yaml."""

from collections.abc import Callable
from typing import Any

from torch import nn

from reconv.models.cnn import build_cnn
from reconv.models.feedforward import build_feedforward

MODELS: dict[str, Callable[[Any, tuple[int, int, int], int], nn.Module]] = {
    "cnn": build_cnn,
    "feedforward": build_feedforward,
}
