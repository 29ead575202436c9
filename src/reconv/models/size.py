"""How large a network is, and what a forward pass costs, without memory for its weights."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from reconv.models import MODELS
from reconv.params import CnnParams, NetworkParams

ImageShape = tuple[int, int, int]


def network_on(device: str, network: NetworkParams, image_shape: ImageShape, num_classes: int) -> nn.Module:
    """Untrained; on the device `meta` it has shapes and no values."""
    model = "cnn" if isinstance(network, CnnParams) else "feedforward"
    with torch.device(device):
        return MODELS[model](network, image_shape, num_classes)


def count_parameters_of(network: NetworkParams, image_shape: ImageShape, num_classes: int) -> int:
    return sum(parameter.numel() for parameter in network_on("meta", network, image_shape, num_classes).parameters())


def count_multiply_adds_of(network: NetworkParams, image_shape: ImageShape, num_classes: int) -> int:
    """Of the forward pass of one image: convolutions and matrix products, as torch counts them."""
    module = network_on("meta", network, image_shape, num_classes).eval()
    height, width, channels = image_shape
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        module(torch.zeros((1, channels, height, width), device="meta"))
    return int(counter.get_total_flops()) // 2
