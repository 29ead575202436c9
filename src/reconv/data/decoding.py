"""Encoded image files -> arrays of one size. Called by packing for sources that are folders."""

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from reconv.data.folder import FORMATS, MAX_PIXELS, read_image_bytes
from reconv.errors import DataError

_GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F"})
Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow's own guard, by default at another number
Channels = Literal["auto", 1, 3]


def decode_all(root: Path, paths: list[str], sums: list[str], image_size: int, channels: Channels) -> NDArray[np.uint8]:
    """Images (N, image_size, image_size, channels) uint8: shorter side resized, centre cropped.

    Raises:
        DataError: a file cannot be decoded, or changed since it was listed.
    """
    if channels == "auto":
        channels = 1 if all(_is_grey(root / path) for path in paths) else 3
    packed = np.empty((len(paths), image_size, image_size, channels), np.uint8)

    def decode(position: int) -> str | None:
        try:
            packed[position] = _decode(root / paths[position], sums[position], image_size, channels)
        except DataError as error:
            return str(error)
        return None

    with ThreadPoolExecutor() as pool:  # Pillow decodes outside the interpreter lock
        failures = [failure for failure in pool.map(decode, range(len(paths))) if failure]
    if failures:
        shown = "\n".join(f"  - {failure}" for failure in failures[:20])
        raise DataError(f"{len(failures)} of {len(paths)} images cannot be used:\n{shown}\nRepair or remove them.")
    return packed


def _is_grey(path: Path) -> bool:
    with _open(read_image_bytes(path), path) as image:
        return image.mode in _GREY_MODES


def _decode(path: Path, expected_sha256: str, image_size: int, channels: int) -> NDArray[np.uint8]:
    content = read_image_bytes(path)
    if hashlib.sha256(content).hexdigest() != expected_sha256:
        raise DataError(f"{path} changed since it was listed: run `dvc repro --force fetch`")
    with _open(content, path) as image:
        try:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits a pixel, which Pillow would clip
                upright = Image.fromarray((np.asarray(upright).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))
            plain = upright.convert("L" if channels == 1 else "RGB")
            resized = ImageOps.fit(plain, (image_size, image_size), Image.Resampling.BILINEAR)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"{path} cannot be decoded ({error})") from None
    return np.asarray(resized, np.uint8).reshape(image_size, image_size, channels)


def _open(content: bytes, path: Path) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)  # reads the header only
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path} cannot be decoded ({error})") from None
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"{path} has {image.width} x {image.height} pixels, must have at most {MAX_PIXELS:,}")
    return image
