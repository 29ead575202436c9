"""What a first convolution looks for, by its measured response to generated patterns. Called by the stage `explain`.

O filters, C channels, k kernel size; P patterns, A angles.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

EDGE, CORNER, COLOUR, OTHER = "edge", "corner", "colour", "other"
_NUM_ANGLES, _NUM_PHASES = 12, 8
_WAVELENGTHS = (1.0, 1.5, 2.0)  # in kernel sizes
_IS_LIKE = 0.5**0.5
"""A filter is called what it responds to if that pattern is at least half of it (the squared cosine)."""
_IS_SELECTIVE = 0.1  # gratings of 3 x 3 have 0.2 (oblique) to 0.6


@dataclass(frozen=True)
class FilterKind:
    label: str
    likeness: float
    """Cosine between the filter and the pattern that it responds to most."""
    orientation_selectivity: float
    """0: all orientations alike, 1: one alone."""


def describe_filters(weights_OCkk: Tensor) -> list[FilterKind]:
    """Label each filter by the pattern of one norm that it responds to most: an oriented grating (edge), a corner, or
    an even field of one colour, which on grey images is one brightness.

    Orientation selectivity is 1 minus the circular variance of the responses to gratings: Ringach, Shapley & Hawken,
    "Orientation selectivity in macaque V1" (Journal of Neuroscience 22, 2002), equation 1.
    """
    _, channels, size, _ = weights_OCkk.shape
    filters_OD = nn.functional.normalize(weights_OCkk.flatten(1).double(), dim=1)
    gratings = torch.stack([_as_patterns(_gratings(size, angle), channels) for angle in _angles()])
    by_angle_AO = (gratings @ filters_OD.T).clamp(min=0).amax(dim=1)
    edge_O = by_angle_AO.amax(dim=0)
    corner_O = (_as_patterns(_corners(size), channels) @ filters_OD.T).amax(dim=0)
    colour_O = (_fields(channels, size) @ filters_OD.T).amax(dim=0)
    turns_A = torch.exp(2j * torch.tensor(_angles(), dtype=torch.float64))
    selectivity_O = (turns_A[:, None] * by_angle_AO).sum(0).abs() / by_angle_AO.sum(0).clamp(min=1e-9)
    kinds = []
    for edge, corner, colour, selectivity in zip(edge_O, corner_O, colour_O, selectivity_O, strict=True):
        likeness = {EDGE: float(edge), CORNER: float(corner), COLOUR: float(colour)}
        label = max(likeness, key=lambda kind: likeness[kind])
        best = likeness[label]
        if best < _IS_LIKE or (label == EDGE and selectivity < _IS_SELECTIVE):
            label = OTHER
        kinds.append(FilterKind(label, best, float(selectivity)))
    return kinds


def edge_responses(weights_OCkk: Tensor, kinds: list[FilterKind], images_NCHW: Tensor) -> Tensor:
    """(N, H, W): how strongly the edge filters respond at each pixel, whatever the sign, their mean."""
    edges = weights_OCkk[[kind.label == EDGE for kind in kinds]]
    if not len(edges):
        return torch.zeros(len(images_NCHW), *images_NCHW.shape[2:])
    return _convolve(images_NCHW, edges).abs().mean(dim=1)


def sobel(images_NCHW: Tensor) -> Tensor:
    """(N, H, W): the gradient's length, of the mean channel. Sobel & Feldman (1968)."""
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    kernels = torch.stack([across, across.T])[:, None]
    gradient_N2HW = _convolve(images_NCHW.mean(dim=1, keepdim=True), kernels)
    return gradient_N2HW.square().sum(dim=1).sqrt()


def correlation(first: Tensor, second: Tensor) -> float:
    """Pearson's, over all values; 0 if one of them is constant."""
    pair = torch.stack([first.flatten(), second.flatten()]).double()
    value = torch.corrcoef(pair)[0, 1]
    return float(value) if torch.isfinite(value) else 0.0


def _convolve(images_NCHW: Tensor, kernels_OCkk: Tensor) -> Tensor:
    """With repeated borders, so that the image's frame is no edge; of the images' size also for even kernels."""
    around = kernels_OCkk.shape[-1] // 2
    height, width = images_NCHW.shape[2:]
    padded = nn.functional.pad(images_NCHW, [around] * 4, mode="replicate")
    return nn.functional.conv2d(padded, kernels_OCkk)[..., :height, :width]


def _angles() -> list[float]:
    return [torch.pi * index / _NUM_ANGLES for index in range(_NUM_ANGLES)]


def _grid(size: int) -> tuple[Tensor, Tensor]:
    places = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    rows, columns = torch.meshgrid(places, places, indexing="ij")
    return rows, columns


def _gratings(size: int, angle: float) -> Tensor:
    rows, columns = _grid(size)
    along = columns * torch.cos(torch.tensor(angle)) + rows * torch.sin(torch.tensor(angle))
    return torch.stack(
        [
            torch.cos(2 * torch.pi * (along / (wavelength * size) + phase / _NUM_PHASES))
            for wavelength in _WAVELENGTHS
            for phase in range(_NUM_PHASES)
        ]
    )


def _corners(size: int) -> Tensor:
    """A quadrant lighter or darker than the rest, with its corner at every inner place."""
    index = torch.arange(size)
    patterns = []
    for row in range(1, size):
        for column in range(1, size):
            quadrant = ((index >= row)[:, None] & (index >= column)[None, :]).double()
            for turn in range(4):
                patterns += [torch.rot90(quadrant, turn), -torch.rot90(quadrant, turn)]
    return torch.stack(patterns) if patterns else torch.zeros(1, size, size, dtype=torch.float64)


def _as_patterns(patterns_Pkk: Tensor, channels: int) -> Tensor:
    """(P, C * k * k): the same in every channel, without their mean, of norm 1 (0 stays 0)."""
    centred = patterns_Pkk - patterns_Pkk.mean(dim=(1, 2), keepdim=True)
    centred[centred.flatten(1).norm(dim=1) < 1e-3] = 0
    return nn.functional.normalize(centred[:, None].expand(-1, channels, -1, -1).flatten(1), dim=1)


def _fields(channels: int, size: int) -> Tensor:
    """Every corner of the cube of colours, as seen from its centre."""
    colours = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * channels).view(-1, channels).double()
    return nn.functional.normalize(colours[:, :, None, None].expand(-1, -1, size, size).flatten(1), dim=1)
