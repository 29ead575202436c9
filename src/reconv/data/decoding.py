"""The bytes of an image file -> pixels of one size. Called by listing (the header) and by `decoded`.

H height, W width, C channels.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import PurePosixPath
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from reconv.data import file_checks, value_range
from reconv.data.value_range import FULL_RANGE, ValueRange
from reconv.errors import ImageError

SUFFIXES = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
        *(".avif", ".heic", ".heif"),
    }
)
"""File extensions of images. The content of other files is checked."""
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L"})
_BMP_HEADER_BYTES = frozenset({12, 40, 52, 56, 64, 108, 124})
_MAX_BRANDS_BYTES = 64
_DRAFT_TIMES = 2
"""A JPEG is decoded at the smallest of its scales that is still so many times the target: the rest is resized well."""
Image.MAX_IMAGE_PIXELS = file_checks.MAX_PIXELS  # Pillow's own guard, by default at another number

Channels = Literal["auto", 1, 3]
Resize = Literal["crop", "pad", "stretch"]
Transparency = Literal["ignore", "white", "black"]


class TooManyPixelsError(ImageError):
    """A file's header names more pixels than the caller allows."""


@dataclass(frozen=True, slots=True)
class Header:
    height: int
    width: int
    is_grey: bool
    is_deep: bool = False
    """Its values have more than 8 bits, and need a range."""


@dataclass(frozen=True)
class Conversion:
    """What every image becomes."""

    image_size: int
    channels: Literal[1, 3]
    resize: Resize
    transparency: Transparency = "ignore"
    """The colour of transparent pixels: their own (ignore), white or black."""
    value_range: ValueRange = FULL_RANGE
    """The values that become black and white, in images with more than 8 bits."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of each image."""
        return self.image_size, self.image_size, self.channels


@dataclass(frozen=True)
class Extremes:
    """In place of pixels: the smallest and the largest value of an image with more than 8 bits, as the bytes of two
    int32. Read with all that pixels are read with: processes, limits, a cluster, a cache."""

    shape: ClassVar[tuple[int, int, int]] = (1, 8, 1)


def is_named_like_an_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def is_image(head: bytes, name: str) -> bool:
    """Return whether a file is of a format that is read, by its first 32 bytes.

    A TIFF with another extension is not: cameras' raw files and scanned slides (.nef, .dng, .svs) begin like one.
    """
    Image.init()
    formats = {name for name in _FORMATS if name in Image.OPEN and _accepts(name, head)}
    if formats == {"TIFF"}:
        return not re.search("[a-z]", PurePosixPath(name).suffix, re.I)
    return bool(formats) or has_video_codec(head)


def _accepts(name: str, head: bytes) -> bool:
    """Return what Pillow says of the first bytes; two letters are little for a BMP, so its next header counts too."""
    accept = Image.OPEN[name][1]
    is_accepted = accept is not None and accept(head[:16]) is True  # a text says that a library is missing
    return is_accepted and (name != "BMP" or int.from_bytes(head[14:18], "little") in _BMP_HEADER_BYTES)


def has_video_codec(content: bytes) -> bool:
    """Return whether it is AVIF or HEIC: a frame of a video, whose decoders allocate what the frame says, not the
    header."""
    return bool(_brands(content) & (_AVIF_BRANDS | _HEIC_BRANDS))


def _brands(content: bytes) -> frozenset[bytes]:
    """Return the formats that a file of ISO's container names."""
    if content[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(content[:4], "big"), len(content), _MAX_BRANDS_BYTES)
    return frozenset(content[at : at + 4] for at in (8, *range(16, end, 4)))


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
    return Header(height, width, image.mode in _GREY_MODES, value_range.is_deep(image))


def decode(content: bytes, to: Conversion | Extremes, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """(image_size, image_size, C): upright, the first frame, 8 bits.

    `crop` resizes the shorter side and keeps the centre, `pad` resizes the longer side and adds black, `stretch` gives
    up the proportions.

    Raises:
        TooManyPixelsError: it has more than `max_pixels`, if that is below the general bound.
        ImageError: it cannot be decoded.
    """
    image = _opened(content, max_pixels)
    has_deep_colours = value_range.has_deep_colours(image)
    if isinstance(to, Extremes):
        found = value_range.extremes(_loaded(image, content), _lower_bytes(content) if has_deep_colours else None)
        return found.astype("<i4").view(np.uint8).reshape(to.shape)
    mode = "L" if to.channels == 1 else "RGB"
    _loaded(image, content, (mode, (_DRAFT_TIMES * to.image_size,) * 2))
    if has_deep_colours:
        if to.value_range != FULL_RANGE:
            value_range.scale_colours(image, _lower_bytes(content), to.value_range)
        if (transparent := image.info.get("transparency")) is not None:  # a PNG's one transparent colour
            image.info["transparency"] = tuple(value_range.scaled(np.array(transparent), to.value_range).tolist())
    file_checks.check_exif(image)
    with suppress(Exception):  # what a camera wrote may be garbage
        ImageOps.exif_transpose(image, in_place=True)
    try:
        shown = image if to.transparency == "ignore" else _on_ground(image, mode, to)
    except Exception as error:  # as of `load`
        raise ImageError(f"has transparency that cannot be read ({error}): save it again") from None
    is_deep = shown.mode.startswith("I")  # which Pillow would clip
    plain = shown if is_deep or shown.mode == mode else shown.convert(mode)
    if plain.mode == "I;16B":  # whose bytes Pillow resizes in the wrong order
        plain = Image.fromarray(np.asarray(plain).astype(np.uint16))
    resized = _resized(plain, to)
    if is_deep:
        resized = Image.fromarray(value_range.scaled(np.asarray(resized), to.value_range)).convert(mode)
    return np.asarray(resized, np.uint8).reshape(to.shape)


def _resized(image: Image.Image, to: Conversion) -> Image.Image:
    size = (to.image_size, to.image_size)
    if to.resize == "crop":
        return ImageOps.fit(image, size, Image.Resampling.BILINEAR)
    if to.resize == "pad":
        black = {"I": to.value_range[0], "I;16": max(0, to.value_range[0])}.get(image.mode)
        return ImageOps.pad(image, size, Image.Resampling.BILINEAR, color=black)
    return image.resize(size, Image.Resampling.BILINEAR)


def _on_ground(image: Image.Image, mode: str, to: Conversion) -> Image.Image:
    """Return what is seen on a white or black ground."""
    if (image.mode == "P" and image.palette is None) or not image.has_transparency_data:
        return image
    if image.mode.startswith("I"):  # a PNG of 16 bits, one value of which is transparent
        values, ground = np.asarray(image), to.value_range[to.transparency == "white"]
        return Image.fromarray(np.where(values == image.info["transparency"], ground, values).astype(np.int32))
    with_opacity = image.convert("RGBA")
    shown = Image.new(mode, image.size, to.transparency)
    shown.paste(with_opacity.convert(mode), mask=with_opacity.getchannel("A"))
    return shown


def _lower_bytes(content: bytes) -> Image.Image:
    image = _opened(content)
    value_range.expect_lower_bytes(image)
    return _loaded(image, content)


def _loaded(image: ImageFile, content: bytes, draft: tuple[str, tuple[int, int]] | None = None) -> ImageFile:
    """Return the image with its pixels; `draft` is a mode and size at which a JPEG may be decoded."""
    file_checks.check_pixels(image, content)
    try:
        if draft and image.format in file_checks.JPEG_FORMATS and image.mode != "CMYK":
            image.draft(*draft)
        image.load()
    except ImageError:
        raise
    except Exception as error:  # struct.error, KeyError and what else its parsers meet in a broken file
        raise ImageError(f"cannot be decoded ({str(error) or type(error).__name__})") from None
    return image


def _opened(content: bytes, max_pixels: int | None = None) -> ImageFile:
    formats = _formats_of(content)
    try:
        image = Image.open(file_checks.opened(content), formats=formats)  # reads the header only
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


def _formats_of(content: bytes) -> tuple[str, ...]:
    brands = _brands(content)
    if brands & _AVIF_BRANDS:
        from PIL import AvifImagePlugin

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # every core has a process, and threads would need its address space
    elif brands & _HEIC_BRANDS:
        _register_heic()
        return ("HEIF",)
    return _FORMATS


@cache
def heic_plugin() -> str:
    """Return the version of what reads HEIC; empty where it is not installed."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version("pillow-heif")
    return ""


@cache
def _register_heic() -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise ImageError("is a HEIC image: `pip install 'reconv[heic]'` to read it") from None
    register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
