"""Whatever may stand in a request for a prediction -> images of the served size. Called by pyfunc and by the demo."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconv.data.decoding import Conversion, decode
from reconv.errors import ImageError

MAX_IMAGES = 10_000
MAX_FILE_BYTES = 50 * 2**20
_COLUMNS = ("image", "b64")


class RequestError(ValueError):
    """Says what is wrong with a request."""


def images_of(request: Any, to: Conversion) -> NDArray[np.uint8]:
    """(N, *to.shape) of a request that holds either pixels, numbers of 0 to 255 (N, height, width, channels) of that
    very shape, or image files, each as bytes or as base64 text; both also as the column `image` or `b64` of a table.

    Raises:
        RequestError: names what stands there and what may.
    """
    if isinstance(request, dict) or hasattr(request, "columns"):
        request = _only_column(request)
    values = request if isinstance(request, np.ndarray) else list(request) if _is_list(request) else [request]
    if len(values) == 0:
        raise RequestError("there is no image in the request")
    if len(values) > MAX_IMAGES:
        raise RequestError(f"there are {len(values):,} images in the request, {MAX_IMAGES:,} at most can be answered")
    if isinstance(_first(values), str | bytes | np.str_ | np.bytes_):
        return np.stack([_of_file(value, number, to) for number, value in enumerate(values)])
    return _of_pixels(values, to)


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


def _of_file(value: Any, number: int, to: Conversion) -> NDArray[np.uint8]:
    if isinstance(value, str):
        text = value.partition("base64,")[2] if value.startswith("data:") else value
        try:
            value = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise RequestError(f"image {number} is text, but not base64 of an image file") from None
    if not isinstance(value, bytes):
        raise RequestError(f"image {number} is {type(value).__name__}, those before it are files")
    if len(value) > MAX_FILE_BYTES:
        raise RequestError(f"image {number} has {len(value):,} bytes, must have at most {MAX_FILE_BYTES:,}")
    try:
        return decode(bytes(value), to)
    except ImageError as error:
        raise RequestError(f"image {number} {error}") from None


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
