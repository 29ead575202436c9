"""A prediction request in any accepted form -> images of the served size. Called by loaded and by the demo.

Strangers send these files: each is decoded in a process that is ended after a few seconds, so that nobody else waits.
"""

import base64
import binascii
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconv.data import decoding
from reconv.data.decoding import Conversion
from reconv.data.processes import Limited, Limits
from reconv.errors import ImageError

SECONDS_VARIABLE = "RECONV_REQUEST_IMAGE_SECONDS"
MAX_IMAGES = 10_000
MAX_FILE_BYTES = 50 * 2**20
MAX_REQUEST_BYTES = 100 * 2**20
"""The bound for all files together."""
MAX_REQUEST_PIXELS = 200 * 10**6
"""The bound for all files together, by their headers."""
MAX_NUMBERS = 100 * 10**6
"""The bound for all images together, at the size that the model takes."""
MAX_REQUEST_SECONDS = 30.0
"""The bound for decoding all files; MLflow's server itself gives up after 60."""
LIMITS = Limits(seconds=float(os.environ.get(SECONDS_VARIABLE, "5")), memory_bytes=2 * 2**30)
"""The limits of each file: the slowest that decoding allows takes 2 s and 1.6 GB."""
_COLUMNS = ("image", "b64")


class RequestError(ValueError):
    """Says what is wrong with a request."""


class RequestTooLargeError(RequestError):
    """A request exceeds a limit of size; the text says which."""


def images_of(request: Any, to: Conversion) -> NDArray[np.uint8]:
    """(N, *to.shape) of a request that holds either pixels, numbers of 0 to 255 (N, height, width, channels) of that
    very shape, or image files, each as bytes or as base64 text; both also as the column `image` or `b64` of a table.

    Raises:
        RequestTooLargeError: names the limit of a request's size.
        RequestError: names what stands there and what may.
    """
    if isinstance(request, dict) or hasattr(request, "columns"):
        request = _only_column(request)
    values = request if isinstance(request, np.ndarray) else list(request) if _is_list(request) else [request]
    if len(values) == 0:
        raise RequestError("there is no image in the request")
    _refuse_too_many(len(values), to)
    if isinstance(_first(values), str | bytes | np.str_ | np.bytes_):
        return _of_files(values, to)
    return _of_pixels(values, to)


def image_of(content: bytes, to: Conversion) -> NDArray[np.uint8]:
    """Decode an image file that a stranger sent to an array of to.shape.

    Raises:
        ImageError: it is not an image, or decoding it takes too long or too much memory.
    """
    return _decode(content, to)[0]


def _decode_counted(content: bytes, to: Conversion) -> tuple[NDArray[np.uint8], int]:
    """Return the image, and the number of pixels in the file."""
    header = decoding.read_header(content)
    return decoding.decode(content, to), header.height * header.width


_decode = Limited(_decode_counted, LIMITS)


def _refuse_too_many(num_images: int, to: Conversion) -> None:
    most = min(MAX_IMAGES, MAX_NUMBERS // int(np.prod(to.shape)))
    if num_images > most:
        raise RequestTooLargeError(
            f"the request has {num_images:,} images, must have at most {most:,} of {_shown(to)}: "
            "send them in several requests"
        )


def _only_column(table: Any) -> Any:
    names = list(table.keys())
    for name in _COLUMNS:
        if name in names:
            return table[name]
    raise RequestError(
        f"a table needs a column named {' or '.join(_COLUMNS)}, this one has {', '.join(map(str, names))}"
    )


def _is_list(request: Any) -> bool:
    return (isinstance(request, Sequence) and not isinstance(request, str | bytes)) or hasattr(request, "tolist")


def _first(values: Any) -> Any:
    first = values[0]
    return first.item() if isinstance(first, np.ndarray) and first.ndim == 0 else first


def _of_files(values: Any, to: Conversion) -> NDArray[np.uint8]:
    images = np.empty((len(values), *to.shape), np.uint8)
    num_bytes = num_pixels = 0
    end = time.monotonic() + MAX_REQUEST_SECONDS
    for number, value in enumerate(values):
        content = _content_of(value, number)
        num_bytes += len(content)
        _refuse_above(MAX_REQUEST_BYTES, num_bytes, "bytes")
        try:
            images[number], more_pixels = _decode(content, to)
        except ImageError as error:
            raise RequestError(f"image {number} {error}") from None
        num_pixels += more_pixels
        _refuse_above(MAX_REQUEST_PIXELS, num_pixels, "pixels")
        if time.monotonic() > end and number + 1 < len(values):
            raise RequestTooLargeError(
                f"{number + 1} of the request's {len(values):,} images took {MAX_REQUEST_SECONDS:g} s to decode: "
                "send them in several requests"
            )
    return images


def _content_of(value: Any, number: int) -> bytes:
    """Return the bytes of a file that was sent as such or as base64 text."""
    if isinstance(value, str | bytes) and len(value) > 2 * MAX_FILE_BYTES:  # before anything is made of it
        raise _too_large_a_file(number, len(value))
    if isinstance(value, str):
        text = value.partition("base64,")[2] if value.startswith("data:") else value
        try:
            value = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise RequestError(f"image {number} is text, but not base64 of an image file") from None
    if not isinstance(value, bytes):
        raise RequestError(f"image {number} is {type(value).__name__}, those before it are files")
    if len(value) > MAX_FILE_BYTES:
        raise _too_large_a_file(number, len(value))
    return bytes(value)


def _too_large_a_file(number: int, size: int) -> RequestTooLargeError:
    return RequestTooLargeError(f"image {number} has {size:,} bytes, must have at most {MAX_FILE_BYTES:,}")


def _refuse_above(most: int, count: int, what: str) -> None:
    if count > most:
        raise RequestTooLargeError(
            f"the files in the request have more than {most:,} {what} together: send them in several requests"
        )


def _of_pixels(values: Any, to: Conversion) -> NDArray[np.uint8]:
    try:
        pixels = np.asarray(values)
    except ValueError:
        pixels = np.empty(0, object)
    if pixels.dtype == object:
        raise RequestError(
            f"the images are not all of {_shown(to)} numbers: lists of unequal lengths, or something else than numbers"
        )
    if pixels.shape == to.shape:
        pixels = pixels[None]
    if pixels.shape[1:] != to.shape:
        raise RequestError(
            f"the images are an array of {' x '.join(map(str, pixels.shape))}, must be N x {_shown(to)}; "
            "image files (base64) may have any size"
        )
    if pixels.dtype.kind not in "uif" or not ((pixels >= 0) & (pixels <= 255)).all():
        raise RequestError("pixels must be numbers of 0 to 255")
    if pixels.dtype.kind == "f" and (pixels != np.floor(pixels)).any():
        raise RequestError("pixels must be whole numbers of 0 to 255, not scaled to 0 to 1")
    return np.ascontiguousarray(pixels, dtype=np.uint8)


def _shown(to: Conversion) -> str:
    return " x ".join(map(str, to.shape))
