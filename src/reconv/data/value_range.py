"""Which values of images with more than 8 bits become black and white. Called by decoding, found and the bundle.

Files of 16 or 32 bits rarely use all of them: a camera gives 10 or 12 bits, a CT scan -1,024 to 3,071. The range is
found over the whole data set, so that a value is the same brightness in every image, and is kept with the model.
"""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

ValueRange = tuple[int, int]
"""The value that becomes 0, and the one that becomes 255."""
FULL_RANGE: ValueRange = (0, 65535)
_OUTLIERS = 1000
"""One in so many values of an image, and images of a data set, may lie beyond the range: hot pixels, broken files."""
_SAMPLED_PIXELS, _BLOCK_PIXELS = 4 * 10**6, 10**6
_FEW_LEVELS = 32
"""Values far from 0 have their own black where this few of 256 grey levels would be left to them."""
_DEEP_COLOURS = re.compile(r"(RGB|RGBA|RGBX);16[BLN]")


def is_deep(image: ImageFile) -> bool:
    """Return whether the file's values need a range; to be asked before its pixels are loaded."""
    return image.mode.startswith("I") or has_deep_colours(image)


def has_deep_colours(image: ImageFile) -> bool:
    """Return whether it has 16 bits per channel, of which Pillow reads the upper 8."""
    if image.format not in ("PNG", "TIFF") or not image.tile:
        return False
    return all(_DEEP_COLOURS.fullmatch(_raw_mode(tile.args)) for tile in image.tile)


def expect_lower_bytes(image: ImageFile) -> None:
    """Make Pillow read the lower 8 of the 16 bits per channel, by swapping the order of the bytes."""
    tiles = []
    for tile in image.tile:
        raw = _raw_mode(tile.args)
        swapped = raw[:-1] + ("B" if raw[-1] == "L" or (raw[-1] == "N" and np.little_endian) else "L")
        args = (swapped, *tile.args[1:]) if isinstance(tile.args, tuple) else swapped
        tiles.append(tile._replace(args=args))
    image.tile = tiles


def _raw_mode(args: object) -> str:
    return str(args[0] if isinstance(args, tuple) and args else args)


def scaled(values: NDArray[Any], value_range: ValueRange) -> NDArray[np.uint8]:
    """0 to 255. Of FULL_RANGE these are the upper 8 bits of 16."""
    black, white = value_range
    above_black = values.astype(np.int64).clip(black, white) - black
    return (above_black * 256 // (white - black + 1)).astype(np.uint8)


def scale_colours(image: Image.Image, lower: Image.Image, value_range: ValueRange) -> None:
    """Scale an image in place, which holds the upper bytes of colours, as `lower` does the lower ones."""
    rows = max(1, _BLOCK_PIXELS // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        upper = np.asarray(image.crop(box))
        block = scaled(_joined(upper, np.asarray(lower.crop(box))), value_range)
        block[..., 3:] = upper[..., 3:]  # opacity
        image.paste(Image.fromarray(block), box)


def extremes(image: Image.Image, lower: Image.Image | None) -> NDArray[np.int64]:
    """(2,): the smallest and the largest value of an image, but for a few that are probably hot pixels. `lower` holds
    the lower bytes of colours."""
    step = -(-image.width * image.height // _SAMPLED_PIXELS)
    values: NDArray[Any] = np.asarray(image)[::step]
    if lower is not None:
        values = _joined(values, np.asarray(lower)[::step])[..., :3]
    beyond = max(1, values.size // _OUTLIERS) if values.size > 2 else 0
    return np.partition(values.ravel(), [beyond, values.size - 1 - beyond])[[beyond, -1 - beyond]].astype(np.int64)


def _joined(upper: NDArray[np.uint8], lower: NDArray[np.uint8]) -> NDArray[Any]:
    return (upper.astype(np.uint16) << 8) | lower


def used_range(extremes_N2: NDArray[np.int64]) -> ValueRange:
    """Return the range that nearly all of N images keep to: 0 to the smallest 2^k - 1, from 8 bits on.

    Black is a negative power of 2 where there are negative values. So a few more images rarely change the range. Values
    far from 0, as signed numbers that are stored with 32,768 added, have a black of their own.
    """
    beyond = len(extremes_N2) // _OUTLIERS
    low, high = int(np.sort(extremes_N2[:, 0])[beyond]), int(np.sort(extremes_N2[:, 1])[-1 - beyond])
    white = max(255, 2 ** max(0, high).bit_length() - 1)
    if low < 0:
        return -(2 ** (-low - 1).bit_length()), white
    size = max(256, 2 ** (high - low).bit_length())
    if size * 256 > white * _FEW_LEVELS:
        return 0, white
    black = low // (size // 4) * (size // 4)
    return black, black + size + (size // 4 if high >= black + size else 0) - 1
