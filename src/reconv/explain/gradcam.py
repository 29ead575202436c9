"""Where a CNN looks for an answer: Grad-CAM, by captum. Called by the stage `explain`.

N images, H height, W width, C channels; K channels, h, w of the last map's output.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization" (ICCV 2017), with
the gradient left at its place instead of averaged over all: Draelos & Carin, "Use HiResCAM instead of Grad-CAM for
faithful explanations" (arXiv 2011.08891, 2020). Where channels are averaged before the classes both are the same.
Behind a flattened layer a channel means something else at every place, and with the average 7 of Fashion-MNIST's 20
pictures were empty.
"""

import torch
from torch import Tensor, nn

from reconv.models.classifier import ImageClassifier
from reconv.models.cnn import blocks_of
from reconv.models.transfer import classes_layer


def grad_cam(classifier: ImageClassifier, images_NHWC: Tensor, answers_N: Tensor) -> Tensor:
    """(N, H, W), 0 to 1: what of each image speaks for its answer (a class), at the resolution of the last map.

    Of an image and its mirror image where the classifier's answer is the mean of both. All 0 where nothing does, and
    for a network without maps.
    """
    from captum.attr import LayerGradientXActivation

    layer = last_map(classifier.network)
    if layer is None or not len(images_NHWC):
        return torch.zeros(images_NHWC.shape[:3])
    cam = LayerGradientXActivation(classifier.network, layer)
    speaks_NKhw = cam.attribute(classifier.inputs(images_NHWC), target=answers_N)
    if classifier.flips:
        mirrored_NKhw = cam.attribute(classifier.inputs(images_NHWC.flip(2)), target=answers_N)
        speaks_NKhw = speaks_NKhw + mirrored_NKhw.flip(3)
    map_N1hw = speaks_NKhw.sum(dim=1, keepdim=True).relu()
    spread_NHW = nn.functional.interpolate(map_N1hw, images_NHWC.shape[1:3], mode="bilinear")[:, 0].detach()
    highest_N11 = spread_NHW.amax(dim=(1, 2), keepdim=True)
    scaled: Tensor = torch.where(highest_N11 > 0, spread_NHW / highest_N11.clamp(min=1e-12), 0.0)
    return scaled


def last_map(network: nn.Module) -> nn.Module | None:
    """The last layer that still knows where in the image something is: the last block, or in a network of torchvision's
    the last convolution before the classes. None without any: a feed-forward network, or a transformer, whose only
    convolution is its first layer."""
    if blocks := blocks_of(network):
        return blocks[-1]
    _, classes = classes_layer(network)
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and layer is not classes]
    return convolutions[-1] if len(convolutions) > 1 else None
