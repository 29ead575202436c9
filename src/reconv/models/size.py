"""How large a network is, and what a forward pass costs, without memory for its weights."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from reconv.models import MODELS
from reconv.models.transfer import input_shape_of
from reconv.params import FeedforwardParams, NetworkParams

ImageShape = tuple[int, int, int]


def network_on(device: str, network: NetworkParams, image_shape: ImageShape, num_classes: int) -> nn.Module:
    """Untrained, for what it sees of images of `image_shape`; on the device `meta` it has shapes and no values."""
    model = "feedforward" if isinstance(network, FeedforwardParams) else "cnn"
    with torch.device(device):
        return MODELS[model](network, input_shape_of(network, image_shape), num_classes)


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def multiply_adds(module: nn.Module, image: Tensor) -> int:
    """Of the forward pass of `image`, a batch of one: convolutions and matrix products, as torch counts them."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        module(image)
    return int(counter.get_total_flops()) // 2


def count_parameters_of(network: NetworkParams, image_shape: ImageShape, num_classes: int) -> int:
    return count_parameters(network_on("meta", network, image_shape, num_classes))


def count_multiply_adds_of(network: NetworkParams, image_shape: ImageShape, num_classes: int) -> int:
    height, width, channels = input_shape_of(network, image_shape)
    image = torch.zeros((1, channels, height, width), device="meta")
    return multiply_adds(network_on("meta", network, image_shape, num_classes).eval(), image)
