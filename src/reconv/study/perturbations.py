"""Test images as they might also have been: shifted, or corrupted. uint8 (N, H, W, C) in and out, labels stay.

N images, H height, W width, C channels.
"""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur, rotate

SEVERITIES = (1, 2, 3, 4, 5)
Corruption = Callable[[Tensor, int, torch.Generator], Tensor]


def shifted(images_NHWC: Tensor, pixels: int) -> list[Tensor]:
    """Moved right, left, down and up; what comes in repeats the border."""
    if pixels == 0:
        return [images_NHWC]
    padded_NCHW = nn.functional.pad(images_NHWC.permute(0, 3, 1, 2).float(), [pixels] * 4, mode="replicate").byte()
    height, width = images_NHWC.shape[1:3]
    corners = [(pixels, 0), (pixels, 2 * pixels), (0, pixels), (2 * pixels, pixels)]
    return [padded_NCHW[..., y : y + height, x : x + width].permute(0, 2, 3, 1).contiguous() for y, x in corners]


def corrupted(name: str, images_NHWC: Tensor, severity: int, seed: int) -> Tensor:
    """One of CORRUPTIONS at severity 1 (slight) to 5; the same seed gives the same images."""
    generator = torch.Generator().manual_seed(seed)
    images_NCHW = images_NHWC.permute(0, 3, 1, 2).contiguous()
    return CORRUPTIONS[name](images_NCHW, severity, generator).permute(0, 2, 3, 1).contiguous()


def _bytes(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).byte()


def _gaussian_noise(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    return _bytes(x + 255 * (0.04, 0.08, 0.12, 0.18, 0.26)[severity - 1] * torch.randn(x.shape, generator=generator))


def _shot_noise(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    photons = (60, 25, 12, 5, 3)[severity - 1]
    return _bytes(torch.poisson(x / 255 * photons, generator=generator) / photons * 255)


def _impulse_noise(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    chance = torch.rand(x.shape, generator=generator)
    share = (0.02, 0.05, 0.09, 0.15, 0.25)[severity - 1]
    return x.masked_fill(chance < share / 2, 0).masked_fill(chance > 1 - share / 2, 255)


def _gaussian_blur(x: Tensor, severity: int, _: torch.Generator) -> Tensor:
    sigma = _of_side(x, (0.014, 0.021, 0.029, 0.043, 0.06)[severity - 1])
    blurred: Tensor = gaussian_blur(x, kernel_size=2 * max(1, round(3 * sigma)) + 1, sigma=sigma)
    return blurred


def _motion_blur(x: Tensor, severity: int, _: torch.Generator) -> Tensor:
    length = max(2, round(_of_side(x, (0.07, 0.1, 0.14, 0.2, 0.28)[severity - 1])))
    padded = nn.functional.pad(x.float(), [length // 2, (length - 1) // 2, 0, 0], mode="replicate")
    return _bytes(padded.unfold(3, length, 1).mean(-1))


def _brightness(x: Tensor, severity: int, _: torch.Generator) -> Tensor:
    return _bytes(x + 255 * (0.08, 0.16, 0.24, 0.36, 0.5)[severity - 1])


def _darkness(x: Tensor, severity: int, _: torch.Generator) -> Tensor:
    return _bytes(x * (0.8, 0.6, 0.45, 0.3, 0.2)[severity - 1])


def _contrast(x: Tensor, severity: int, _: torch.Generator) -> Tensor:
    mean = x.float().mean(dim=(1, 2, 3), keepdim=True)
    return _bytes(mean + (x - mean) * (0.7, 0.5, 0.35, 0.2, 0.1)[severity - 1])


def _rotation(x: Tensor, severity: int, _: torch.Generator) -> Tensor:
    angle = (5, 10, 15, 22, 30)[severity - 1]
    half = len(x) // 2  # one half to the left, the other to the right
    turned = [rotate(part, sign * angle) for part, sign in ((x[:half], 1), (x[half:], -1)) if len(part)]
    return torch.cat(turned)


def _occlusion(x: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """A grey square somewhere."""
    height, width = x.shape[2:]
    side = max(1, round(_of_side(x, (0.15, 0.22, 0.3, 0.4, 0.5)[severity - 1])))
    top_N, left_N = (
        (torch.rand(len(x), generator=generator) * (length - side + 1)).long() for length in (height, width)
    )
    rows_NH = (torch.arange(height) >= top_N[:, None]) & (torch.arange(height) < top_N[:, None] + side)
    columns_NW = (torch.arange(width) >= left_N[:, None]) & (torch.arange(width) < left_N[:, None] + side)
    return x.masked_fill((rows_NH[:, :, None] & columns_NW[:, None, :])[:, None], 128)


def _jpeg(x: Tensor, severity: int, _: torch.Generator) -> Tensor:
    quality = (40, 25, 15, 8, 4)[severity - 1]
    return torch.stack([_encoded_and_decoded(one, quality) for one in x])


def _encoded_and_decoded(image_CHW: Tensor, quality: int) -> Tensor:
    is_grey = len(image_CHW) == 1
    pixels = image_CHW[0].numpy() if is_grey else image_CHW.permute(1, 2, 0).numpy()
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    decoded = torch.from_numpy(np.array(Image.open(file)))
    return decoded[None] if is_grey else decoded.permute(2, 0, 1)


def _pixelation(x: Tensor, severity: int, _: torch.Generator) -> Tensor:
    height, width = x.shape[2:]
    share = (0.7, 0.55, 0.45, 0.35, 0.25)[severity - 1]
    small = nn.functional.interpolate(x.float(), [max(1, round(share * s)) for s in (height, width)], mode="area")
    return _bytes(nn.functional.interpolate(small, (height, width), mode="nearest"))


def _of_side(x: Tensor, share: float) -> float:
    return share * min(x.shape[2:])


# Kinds and their growth as in Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
# Perturbations" (ICLR 2019), with extents as shares of the image, so that they mean the same at 28 and at 224 pixels.
CORRUPTIONS: dict[str, Corruption] = {
    "Gaussian noise": _gaussian_noise,
    "shot noise": _shot_noise,
    "impulse noise": _impulse_noise,
    "Gaussian blur": _gaussian_blur,
    "motion blur": _motion_blur,
    "brightness": _brightness,
    "darkness": _darkness,
    "contrast": _contrast,
    "rotation": _rotation,
    "occlusion": _occlusion,
    "JPEG": _jpeg,
    "pixelation": _pixelation,
}
