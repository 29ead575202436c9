"""The bytes of an image file -> pixels of one size. Called by listing (the header) and by `decoded`.

H height, W width, C channels.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from reconv.data import file_checks
from reconv.errors import ImageError

SUFFIXES = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
        *(".avif", ".heic", ".heif"),
    }
)
"""Of names that promise an image. Others are looked into: the content decides."""
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L"})
_BMP_HEADER_BYTES = frozenset({12, 40, 52, 56, 64, 108, 124})
_DRAFT_TIMES = 2
"""A JPEG is decoded at the smallest of its scales that is still so many times the target: the rest is resized well."""
Image.MAX_IMAGE_PIXELS = file_checks.MAX_PIXELS  # Pillow's own guard, by default at another number

Channels = Literal["auto", 1, 3]
Resize = Literal["crop", "pad", "stretch"]


class TooManyPixelsError(ImageError):
    """A file's header names more pixels than the caller allows."""


@dataclass(frozen=True, slots=True)
class Header:
    height: int
    width: int
    is_grey: bool


@dataclass(frozen=True)
class Conversion:
    """What every image becomes."""

    image_size: int
    channels: Literal[1, 3]
    resize: Resize

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of each image."""
        return self.image_size, self.image_size, self.channels


def is_named_like_an_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def is_image(head: bytes, name: str) -> bool:
    """Return whether a file is of a format that is read, by its first 32 bytes.

    A TIFF with another extension is not: cameras' raw files and scanned slides (.nef, .dng, .svs) begin like one.
    """
    Image.init()
    formats = {name for name in _FORMATS if name in Image.OPEN and _accepts(name, head)}
    return bool(formats) and (formats != {"TIFF"} or not re.search("[a-z]", PurePosixPath(name).suffix, re.I))


def _accepts(name: str, head: bytes) -> bool:
    """Return what Pillow says of the first bytes; two letters are little for a BMP, so its next header counts too."""
    accept = Image.OPEN[name][1]
    is_accepted = accept is not None and accept(head[:16]) is True  # a text says that a library is missing
    return is_accepted and (name != "BMP" or int.from_bytes(head[14:18], "little") in _BMP_HEADER_BYTES)


def read_header(content: bytes) -> Header:
    """Without decoding. Height and width are those of the upright image.

    Raises:
        ImageError: it is none of the formats, or has too many pixels.
    """
    image = _opened(content)
    is_turned = False
    if image.format != "TIFF":  # whose size is that of the upright image already
        with suppress(Exception):  # what a camera wrote may be garbage
            # Of a PNG, its own `getexif` would decode the pixels.
            is_turned = Image.Image.getexif(image).get(0x0112) in (5, 6, 7, 8)
    height, width = (image.width, image.height) if is_turned else (image.height, image.width)
    return Header(height, width, image.mode in _GREY_MODES)


def decode(content: bytes, to: Conversion, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """(image_size, image_size, C): upright, the first frame, transparency left out, 16 bits as their upper 8.

    `crop` resizes the shorter side and keeps the centre, `pad` resizes the longer side and adds black, `stretch` gives
    up the proportions.

    Raises:
        TooManyPixelsError: it has more than `max_pixels`, if that is below the general bound.
        ImageError: it cannot be decoded.
    """
    image = _opened(content, max_pixels)
    size = (to.image_size, to.image_size)
    mode = "L" if to.channels == 1 else "RGB"
    file_checks.check_pixels(image, content)
    try:
        if image.format in file_checks.JPEG_FORMATS and image.mode != "CMYK":
            image.draft(mode, (_DRAFT_TIMES * to.image_size,) * 2)
        image.load()
    except ImageError:
        raise
    except Exception as error:  # struct.error, KeyError and what else its parsers meet in a broken file
        raise ImageError(f"cannot be decoded ({str(error) or type(error).__name__})") from None
    file_checks.check_exif(image)
    with suppress(Exception):  # what a camera wrote may be garbage
        ImageOps.exif_transpose(image, in_place=True)
    has_16_bits = image.mode.startswith("I")  # which Pillow would clip
    plain = image if has_16_bits or image.mode == mode else image.convert(mode)
    if to.resize == "crop":
        resized = ImageOps.fit(plain, size, Image.Resampling.BILINEAR)
    elif to.resize == "pad":
        resized = ImageOps.pad(plain, size, Image.Resampling.BILINEAR)
    else:
        resized = plain.resize(size, Image.Resampling.BILINEAR)
    if has_16_bits:
        resized = Image.fromarray((np.asarray(resized).clip(0, 65535) >> 8).astype(np.uint8)).convert(mode)
    return np.asarray(resized, np.uint8).reshape(to.image_size, to.image_size, to.channels)


def _opened(content: bytes, max_pixels: int | None = None) -> ImageFile:
    try:
        image = Image.open(file_checks.opened(content), formats=_FORMATS)  # reads the header only
    except ImageError:
        raise
    except Exception as error:  # as of `load`
        reason = "no format that is read" if isinstance(error, UnidentifiedImageError) else str(error)
        raise ImageError(f"cannot be decoded ({reason})") from None
    file_checks.check_header(image, content)
    if max_pixels and image.width * image.height > max_pixels:
        raise TooManyPixelsError(f"has {image.width} x {image.height} pixels, must have at most {max_pixels:,}")
    if image.mode == "F":
        raise ImageError("has pixels of floating point, which have no agreed range: save it with 8 or 16 bits")
    return image
