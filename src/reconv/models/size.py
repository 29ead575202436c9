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


def count_activations_of(network: NetworkParams, image_shape: ImageShape, num_classes: int) -> int:
    """Values that its layers hand on for one image: about what a backward pass has to be kept for."""
    module = network_on("meta", network, image_shape, num_classes).eval()
    counted: list[int] = []
    for layer in module.modules():
        if not list(layer.children()):
            layer.register_forward_hook(lambda *called: counted.append(called[-1].numel()))
    with torch.inference_mode():
        module(_image_on_meta(network, image_shape))
    return sum(counted)


def count_multiply_adds_of(network: NetworkParams, image_shape: ImageShape, num_classes: int) -> int:
    module = network_on("meta", network, image_shape, num_classes).eval()
    return multiply_adds(module, _image_on_meta(network, image_shape))


def _image_on_meta(network: NetworkParams, image_shape: ImageShape) -> Tensor:
    height, width, channels = input_shape_of(network, image_shape)
    return torch.zeros((1, channels, height, width), device="meta")
