"""Pixels of the report's pictures, from numpy. H height, W width, C channels."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
_HIGHLIGHT = (0xD5, 0x5E, 0x00)  # of Okabe & Ito's palette
_MOST_HIGHLIGHTED = 0.8


def as_rgb(images_HWC: Pixels) -> Pixels:
    """(..., H, W, 3) of images of one or three channels."""
    rgb: Pixels = np.broadcast_to(images_HWC, (*images_HWC.shape[:-1], 3))
    return rgb


def highlighted(image_HWC: Pixels, strength_HW: NDArray[np.floating]) -> Pixels:
    """(H, W, 3): the image with orange where `strength`, 0 to 1, is high."""
    opacity_HW1 = _MOST_HIGHLIGHTED * strength_HW[..., None]
    mixed: Pixels = (
        ((1 - opacity_HW1) * as_rgb(image_HWC) + opacity_HW1 * np.array(_HIGHLIGHT)).round().astype(np.uint8)
    )
    return mixed


def stretched(values_HWC: NDArray[np.floating]) -> Pixels:
    """(H, W, C): the least of all values is 0, the largest 255."""
    low, high = float(values_HWC.min()), float(values_HWC.max())
    return ((values_HWC - low) / ((high - low) or 1.0) * 255).round().astype(np.uint8)


def in_two_colours(values_HW: NDArray[np.floating]) -> Pixels:
    """(H, W, 3): blue is positive, orange negative, white 0; as far as the largest of them."""
    share_HW1 = (values_HW / (np.abs(values_HW).max() or 1.0))[..., None]
    ends = np.where(share_HW1 > 0, (0x00, 0x72, 0xB2), _HIGHLIGHT)
    return (0xF7 + (ends - 0xF7) * np.abs(share_HW1)).round().astype(np.uint8)


def sheet(pictures: Sequence[Pixels], columns: int, gap: int = 1) -> Pixels:
    """(height, width, 4): pictures of any sizes in rows, with nothing between them."""
    cell = np.max([picture.shape[:2] for picture in pictures], axis=0) + gap
    rows = -(-len(pictures) // columns)
    out = np.zeros((*(cell * (rows, min(columns, len(pictures))) - gap), 4), np.uint8)
    for index, picture_HWC in enumerate(pictures):
        (top, left), (height, width) = cell * divmod(index, columns), picture_HWC.shape[:2]
        place = out[top : top + height, left : left + width]
        place[..., 3] = 255
        place[..., :3] = as_rgb(picture_HWC[..., :3])
        if picture_HWC.shape[-1] == 4:
            place[..., 3] = picture_HWC[..., 3]
    return out


def enlarged(picture_HWC: Pixels, width: int) -> Pixels:
    """By a whole number, to at most `width` pixels if it is smaller."""
    times = max(1, width // picture_HWC.shape[1])
    return picture_HWC.repeat(times, axis=0).repeat(times, axis=1)


def as_png(picture_HWC: Pixels) -> bytes:
    """Of 1, 3 or 4 channels."""
    pixels = picture_HWC[..., 0] if picture_HWC.shape[-1] == 1 else picture_HWC
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def as_data_uri(picture_HWC: Pixels) -> str:
    """The picture within a page."""
    return "data:image/png;base64," + base64.b64encode(as_png(picture_HWC)).decode()
