"""The baseline: a network that sees the image as one row of numbers."""

from torch import nn

from reconv.params import FeedforwardParams


def build_feedforward(params: FeedforwardParams, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Flatten, then fully connected layers with ReLU: (B, C, H, W) -> logits (B, num_classes)."""
    height, width, channels = image_shape
    features = height * width * channels
    layers: list[nn.Module] = [nn.Flatten()]
    for units in params.widths:
        layers.append(nn.Linear(features, units, bias=not params.batch_norm))
        if params.batch_norm:
            layers.append(nn.BatchNorm1d(units))
        layers += [nn.ReLU(inplace=True), nn.Dropout(params.dropout)]
        features = units
    layers.append(nn.Linear(features, num_classes))
    return nn.Sequential(*layers)
