"""Image headers and pixels, read within limits on time and memory.

A file that is cheap by its size is read in this process; any other, and any AVIF or HEIC, in a separate process that
is ended if it exceeds the limits. Called by inspecting, decoders and prediction.
"""

import numpy as np
from numpy.typing import NDArray

from reconv.data import decoding
from reconv.data.decoding import Conversion, Extremes, Header, TooManyPixelsError
from reconv.data.processes import Limited, Limits

CHEAP_BYTES, CHEAP_PIXELS = 8 * 2**20, 25 * 10**6
"""Photographs of most cameras. The slowest file of that size that we could make took 2 s and 0.4 GB."""
LIMITS = Limits(seconds=30, memory_bytes=2 * 2**30)
"""The slowest file that decoding allows, a rotated WebP of 100 million pixels, takes 3 s and 1.6 GB."""
_read_header, _decode = Limited(decoding.read_header, LIMITS), Limited(decoding.decode, LIMITS)


def read_header(content: bytes) -> Header:
    """Read the header as `decoding.read_header` does.

    Raises:
        ImageError: as there, or it takes too long or too much memory.
    """
    return decoding.read_header(content) if _may_be_cheap(content) else _read_header(content)


def decode(content: bytes, to: Conversion | Extremes) -> NDArray[np.uint8]:
    """Decode the image as `decoding.decode` does.

    Raises:
        ImageError: as there, or it takes too long or too much memory.
    """
    if _may_be_cheap(content):
        try:
            return decoding.decode(content, to, CHEAP_PIXELS)
        except (TooManyPixelsError, MemoryError):
            pass
    return _decode(content, to)


def _may_be_cheap(content: bytes) -> bool:
    return len(content) <= CHEAP_BYTES and not decoding.has_video_codec(content)
