"""Checks of one image file against bounds, before it costs minutes or gigabytes. Called by decoding.

Each bound is far above what cameras and programs write. The decoders are in C and fast, but parsers that loop over the
parts of a file in Python take up to 2 µs per byte: a file of up to SMALL_BYTES cannot keep them busy for long.
"""

import io
import re
import struct
from collections.abc import Iterator

import numpy as np
from PIL.ImageFile import ImageFile

from reconv.errors import ImageError

JPEG_FORMATS = ("JPEG", "MPO")  # MPO holds several JPEGs, as phones write them
MAX_PIXELS = 100 * 10**6
SMALL_BYTES = 200_000
MAX_SCANS = 100
"""The limit of libtiff; libjpeg itself writes 10."""
MAX_EXIF_BYTES = 2 * 2**20
_MAX_EXIF_PIECES = 20  # Pillow joins them one by one, which is quadratic
_MAX_HEAD_BYTES = 16 * 2**20  # of a JPEG: its segments before the pixels
_MAX_HEAD_PARTS, _MAX_PARTS = 200_000, 500_000  # a PNG of 200 MB has about 100,000
_MAX_FILL_BYTES = 100_000  # before a marker: the decoder starts over at the first one whenever it wants more bytes
_MAX_TIFF_VALUES = 500_000  # offsets of strips and other numbers, each of which becomes an object
_TIFF_DIRECTORIES = frozenset({0x8769, 0x8825, 0xA005})  # Exif, GPS, interoperability
_TIFF_BYTES = frozenset({1, 2, 7})  # types that stay bytes, or text
_SEGMENT = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # neither an escaped 0xFF nor a restart marker, nor a fill byte
_SCAN_HEADS = [(num, b"\xff\xda\0" + bytes([6 + 2 * num, num])) for num in (1, 2, 3, 4)]  # of so many components
_FILL = b"\xff" * _MAX_FILL_BYTES
_END_OF_JPEG = b"\xff\xd9"


class MeteredFile(io.BytesIO):
    """A file's content that stops a parser which reads too many parts of it, or too far."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._parts = self._exif_pieces = 0
        self._most_parts = _MAX_HEAD_PARTS
        self._num_bytes = len(content)
        self._most_bytes = _MAX_HEAD_BYTES if content.startswith(b"\xff\xd8") else len(content)

    def expect_pixels(self) -> None:
        """Allow more, since the head has been read."""
        self._most_parts, self._most_bytes = _MAX_PARTS, self._num_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        part = super().read(size)
        self._parts += 1
        self._exif_pieces += part.startswith(b"Exif\0\0")
        if self._parts > self._most_parts:
            raise ImageError(f"has more than {self._most_parts:,} parts, must have at most that: save it again")
        if self._exif_pieces > _MAX_EXIF_PIECES:
            raise ImageError(f"has Exif data in more than {_MAX_EXIF_PIECES} pieces, must have at most that: remove it")
        if self.tell() > self._most_bytes:
            raise ImageError(f"has more than {self._most_bytes:,} bytes before its pixels, must have at most that")
        return part


def opened(content: bytes) -> io.BytesIO:
    """Return the file for Pillow to parse.

    Raises:
        ImageError: it is a TIFF of too many values.
    """
    if len(content) <= SMALL_BYTES:
        return io.BytesIO(content)
    if content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        _check_tiff(content)
    return MeteredFile(content)


def check_header(image: ImageFile, content: bytes) -> None:
    """Raises ImageError if it has too many pixels or too much Exif data, or lacks its end."""
    most = _most_pixels(image)
    if image.width * image.height > most:
        raise ImageError(f"has {image.width} x {image.height} pixels, must have at most {most:,}")
    check_exif(image)
    if image.format in JPEG_FORMATS and image.fp and content.rfind(_END_OF_JPEG, image.fp.tell()) < 0:
        # What follows the head may be the zeros of a download that broke off; Pillow would make them grey.
        raise ImageError("cannot be decoded (its end is missing)")


def check_pixels(image: ImageFile, content: bytes) -> None:
    """Prepare decoding. Raises ImageError for a JPEG of too many scans or fill bytes."""
    if isinstance(image.fp, MeteredFile):
        image.fp.expect_pixels()
    if image.format not in JPEG_FORMATS or not image.fp:
        return
    at, end = image.fp.tell(), content.rfind(_END_OF_JPEG)
    # Each scan is a pass over all pixels, and may take a few bytes.
    if ("progressive" in image.info or _has_more_scans(image, content, at)) and _num_scans(content, at) > MAX_SCANS:
        raise ImageError(f"has more than {MAX_SCANS} scans, must have at most that: save it as a baseline JPEG")
    # A long run covers two of these bytes; to look for it everywhere would take 2 % of decoding.
    if b"\xff\xff" in content[at : end : _MAX_FILL_BYTES // 2] and content.find(_FILL, at, end) >= 0:
        raise ImageError(f"has {_MAX_FILL_BYTES:,} fill bytes or more in a row, must have fewer: save it again")


def check_exif(image: ImageFile) -> None:
    """Raises ImageError if there is too much Exif data, which a PNG may have after its pixels."""
    num_bytes = len(image.info.get("exif") or b"")
    if num_bytes > MAX_EXIF_BYTES:
        raise ImageError(f"has {num_bytes:,} bytes of Exif data, must have at most {MAX_EXIF_BYTES:,}: remove it")


def _most_pixels(image: ImageFile) -> int:
    """Return the largest number of pixels: fewer where it takes much memory or time per pixel."""
    if image.format in JPEG_FORMATS and image.mode == "CMYK" and "progressive" in image.info:  # 12 bytes
        return min(MAX_PIXELS, 80 * 10**6)
    if image.format == "TIFF" and sum(getattr(image, "tag_v2", {}).get(258, ())) > 32:  # 12 bytes
        return min(MAX_PIXELS, 80 * 10**6)
    if any(tile.codec_name == "bmp_rle" for tile in image.tile):  # 130 ns, in Python
        return min(MAX_PIXELS, 10 * 10**6)
    return MAX_PIXELS


def _has_more_scans(image: ImageFile, content: bytes, at: int) -> bool:
    """Return whether the first scan of a sequential JPEG, whose head ends at `at`, may lack a component."""
    found = [num for num, head in _SCAN_HEADS if content.startswith(head, max(0, at - 8 - 2 * num))]
    return found != [getattr(image, "layers", 0)]


def _num_scans(content: bytes, at: int) -> int:
    """Count the scans, up to one more than MAX_SCANS. Far too many segments between them count as too many scans."""
    values = np.frombuffer(content, np.uint8, offset=at)
    is_marked = values[1:][values[:-1] == 0xFF] == 0xDA
    if (most := 1 + int(np.count_nonzero(is_marked))) <= MAX_SCANS:
        return most  # or fewer: what looks like one may be in a segment or after the end
    num_scans, num_segments = 1, 0
    while num_scans <= MAX_SCANS and (found := _SEGMENT.search(content, at)) and found[0] != _END_OF_JPEG:
        num_scans += found[0] == b"\xff\xda"
        num_segments += 1
        if num_segments > 10 * MAX_SCANS:
            return MAX_SCANS + 1
        at = found.end() + int.from_bytes(content[found.end() : found.end() + 2], "big")
    return num_scans


def _check_tiff(content: bytes) -> None:
    """Read the first directory, and those in it, as Pillow does. Raises ImageError for too many values."""
    order, is_big = "<" if content[:1] == b"I" else ">", content[2:4] in (b"+\0", b"\0+")
    num_values = 0
    try:
        waiting = list(struct.unpack_from(f"{order}8xQ" if is_big else f"{order}4xI", content))
        seen = set(waiting)
        while waiting:
            for tag, kind, count, value in _entries(content, waiting.pop(), order, is_big):
                num_values += 1 if kind in _TIFF_BYTES else count
                if num_values > _MAX_TIFF_VALUES:
                    raise ImageError(
                        f"has {num_values:,} offsets and other numbers, must have at most {_MAX_TIFF_VALUES:,}"
                    )
                if tag in _TIFF_DIRECTORIES and value not in seen:
                    waiting.append(value)
                    seen.add(value)
    except struct.error:  # it is cut off, which Pillow finds as well
        pass


def _entries(content: bytes, at: int, order: str, is_big: bool) -> Iterator[tuple[int, int, int, int]]:
    """Yield tag, type, number of values, and the value or the offset of the values."""
    if at >= len(content):
        return
    (num,) = struct.unpack_from(order + ("Q" if is_big else "H"), content, at)
    entry = struct.Struct(order + ("HHQQ" if is_big else "HHII"))
    for index in range(num):
        yield entry.unpack_from(content, at + (8 if is_big else 2) + index * entry.size)
