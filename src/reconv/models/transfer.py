"""A network of torchvision's with a layer of its own for the classes, and what such a network sees of an image.

B batch, H height, W width; K classes. torchvision is imported where it is used: a served model of another kind
needs none.
"""

from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from reconv.errors import ParamsError
from reconv.params import NetworkParams, TransferParams

Shape = tuple[int, int, int]
Values = tuple[float, ...]
# Most of these networks halve an image five times: of 64 pixels a side, 2 x 2 places are left.
_MIN_SIDE = 64
# Of BatchNorm's running statistics: torch's default. MobileNet-V3's own, 0.01, and MNASNet's, 0.0003, are for millions
# of steps: after some hundred they would still be those of other images, or of none.
_MOMENTUM = 0.1
_WITH_AUXILIARY_CLASSIFIERS = ("googlenet", "inception_v3")


def build_transfer(params: TransferParams, input_shape: Shape, num_classes: int) -> nn.Module:
    """(B, 3, H, W) -> logits (B, K). All weights are drawn from torch's global generator, the pretrained ones' as well.

    Raises:
        ParamsError: no such network.
    """
    from torchvision.models import get_model

    name = name_of(params)
    options = {"image_size": input_shape[0]} if name.startswith("vit_") else {}
    # RegNet's widths are worked out with tensors that must hold values, as those on the device `meta` do not.
    with torch.device("cpu") if name.startswith("regnet_") else nullcontext():
        network: nn.Module = get_model(name, weights=None, **options)
    network.to(torch.get_default_device())
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = _MOMENTUM
    _replace_classes_layer(network, params.dropout, num_classes)
    return network


def name_of(params: TransferParams) -> str:
    """Without `torchvision:`.

    Raises:
        ParamsError: torchvision has no such network, or it is one that cannot be used.
    """
    import torchvision

    name = params.model.removeprefix("torchvision:")
    known = torchvision.models.list_models(module=torchvision.models)
    usable = [one for one in known if one not in _WITH_AUXILIARY_CLASSIFIERS]
    if name not in usable:
        problem = "has classifiers between its layers, which are not trained here" if name in known else "is unknown"
        raise ParamsError(
            f"models.cnn.model is {params.model:.80}, which {problem}: name one of {', '.join(usable)} in params.yaml."
        )
    return name


def classes_layer(network: nn.Module) -> tuple[str, nn.Module]:
    """Name and layer that gives the logits: the last linear one, or in SqueezeNet the last convolution."""
    layers = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return layers[-1]


def _replace_classes_layer(network: nn.Module, dropout: float, num_classes: int) -> None:
    name, old = classes_layer(network)
    new: nn.Module
    if isinstance(old, nn.Conv2d):
        new = nn.Conv2d(old.in_channels, num_classes, kernel_size=1)
    else:
        assert isinstance(old, nn.Linear)
        new = nn.Linear(old.in_features, num_classes)
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Sequential(nn.Dropout(dropout), new))


def freeze_all_but_classes(network: nn.Module, is_frozen: bool) -> None:
    """Frozen: no gradient, and as in evaluation, so that no running statistic moves. Otherwise all of it learns."""
    network.requires_grad_(not is_frozen).train(not is_frozen)
    name, _ = classes_layer(network)
    network.get_submodule(name.rpartition(".")[0]).requires_grad_(True).train()


def input_shape_of(network: NetworkParams, image_shape: Shape) -> Shape:
    """(height, width, channels) of what `network` sees of an image of `image_shape`.

    A network of torchvision's sees three channels. Pretrained, it sees the size that its weights were trained for;
    otherwise the image's own, unless the network takes but one size or the image is too small for it.
    """
    if not isinstance(network, TransferParams):
        return image_shape
    height, width, _ = image_shape
    weights = default_weights(network)
    (side,) = weights.transforms().crop_size
    at_least = max(weights.meta["min_size"])
    takes_any = not network.is_pretrained and at_least < side and min(height, width) >= max(at_least, _MIN_SIDE)
    return (height, width, 3) if takes_any else (side, side, 3)


def scale_of(network: NetworkParams, mean: Values, std: Values) -> tuple[Values, Values]:
    """Mean and deviation, in units of 0 to 255, that `network` wants its input scaled by: the images' own, unless
    pretrained weights bring theirs. Grey images' become three equal ones where the network sees three channels."""
    if not isinstance(network, TransferParams):
        return mean, std
    if not network.is_pretrained:
        times = 3 // len(mean)
        return mean * times, std * times
    wanted = default_weights(network).transforms()
    return tuple(255 * value for value in wanted.mean), tuple(255 * value for value in wanted.std)


def default_weights(params: TransferParams) -> Any:
    """torchvision's description of its best weights for the network: url, transforms(), meta."""
    from torchvision.models import get_model_weights

    return get_model_weights(name_of(params)).DEFAULT
