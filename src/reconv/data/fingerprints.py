"""What is kept of an image's pixels to compare it with all others: 80 bytes. Made where images are decoded.

N images, H height, W width, C channels; k, l frequencies.
"""

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

FINGERPRINT = np.dtype([("digest", "S16"), ("sums", "<u8", 3), ("squares", "<u8", 3), ("hash", "<u8")])
"""The same digest is the same pixels; sums of the values of each channel and of their squares (0 of channels that there
are not); the hash differs in few bits where images look alike."""

Fingerprints = NDArray[np.void]
_SIDE = 8
_LUMA = np.array([77, 150, 29])  # of 256: ITU-R BT.601
_FINENESS = 64  # of the cosines, which are whole numbers: sums of them are exact, and so the same on every machine


def fingerprints(images_NHWC: NDArray[np.uint8]) -> Fingerprints:
    """(N,) of FINGERPRINT; 1 or 3 channels."""
    channels = images_NHWC.shape[-1]
    found = np.zeros(len(images_NHWC), FINGERPRINT)
    found["digest"] = [blake2b(image.tobytes(), digest_size=16).digest() for image in images_NHWC]
    found["sums"][:, :channels] = _sums(images_NHWC)
    found["squares"][:, :channels] = _sums(np.multiply(images_NHWC, images_NHWC, dtype=np.uint16))
    found["hash"] = _perceptual_hash(images_NHWC)
    return found


def _sums(values_NHWC: NDArray[np.unsignedinteger]) -> NDArray[np.uint64]:
    """(N, C). Rows first, whose values lie side by side: ten times as fast as both axes at once."""
    num_images, height, width, channels = values_NHWC.shape
    columns = values_NHWC.reshape(num_images, height, width * channels).sum(axis=1, dtype=np.uint32)
    sums: NDArray[np.uint64] = columns.reshape(num_images, width, channels).sum(axis=1, dtype=np.uint64)
    return sums


def _perceptual_hash(images_NHWC: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """(N,): which of the 8 x 8 lowest frequencies of the discrete cosine transform are above their median.

    Zauner, "Implementation and benchmarking of perceptual image hash functions" (2010), without scaling the image down
    before: low frequencies see no details. The mean is left out, so that brightness does not count.
    """
    _, height, width, channels = images_NHWC.shape
    luma_NHW = images_NHWC @ (_LUMA if channels == 3 else np.array([256])).astype(np.float64)
    low_Nkl = _cosines(height) @ luma_NHW @ _cosines(width).T
    low_NF = low_Nkl.reshape(len(luma_NHW), _SIDE**2)[:, 1:]
    bits_NF = low_NF > np.median(low_NF, axis=1, keepdims=True)
    packed = np.packbits(bits_NF, axis=1)  # 63 bits and a 0
    hashes: NDArray[np.uint64] = packed.view("<u8")[:, 0]
    return hashes


def _cosines(size: int) -> NDArray[np.float64]:
    """(8, size): the first rows of the DCT-II, in whole numbers."""
    k, i = np.arange(_SIDE)[:, None], np.arange(size)[None]
    rows: NDArray[np.float64] = np.rint(_FINENESS * np.cos(np.pi * (i + 0.5) * k / size))
    return rows


def means_and_deviation(
    found: Fingerprints, num_pixels: int, channels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each image: mean of each channel (N, C), standard deviation of the pixels, mean of channels (N,)."""
    mean_NC = found["sums"][:, :channels] / num_pixels
    variance_NC = found["squares"][:, :channels] / num_pixels - mean_NC**2
    return mean_NC, np.sqrt(np.maximum(variance_NC, 0)).mean(axis=1)


def channel_statistics(
    found: Fingerprints, num_pixels: int, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all images, exact whatever their number."""
    count = len(found) * num_pixels
    mean = found["sums"][:, :channels].sum(axis=0).astype(np.float64) / count
    mean_square = found["squares"][:, :channels].sum(axis=0).astype(np.float64) / count
    std = np.sqrt(np.maximum(mean_square - mean**2, 0))
    return tuple(mean.tolist()), tuple(np.maximum(std, 1.0).tolist())  # a constant channel must not divide by 0
