"""Files of images that took seconds, minutes or gigabytes before they were bounded."""

import struct

from hostile.case import Case
from hostile.images import bmp, gif, gif_frame, png, saved, small_png, tiff
from PIL import Image

TOO_MANY_PARTS = "unusable: has more than 200,000 parts"


def segment(marker: int, data: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


def jpeg_of_scans(side: int, num_scans: int, between: bytes = b"") -> bytes:
    """Grey and progressive: a scan of the mean of each block, and more that add nothing in a few bytes each."""
    num_blocks = (side // 8) ** 2
    tables = segment(0xC4, bytes([0x00, 1, *[0] * 15, 0])) + segment(0xC4, bytes([0x10, 1, 1, *[0] * 14, 0xE0, 0]))
    frame = segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\x01\x11\x00")
    first = segment(0xDA, b"\x01\x01\x00\x00\x00\x00") + bytes(-(-num_blocks // 8))
    runs, rest = divmod(num_blocks, 2**14)  # code 0 and 14 zero bits: 2^14 empty blocks; code 10: one
    bits = ("0" * 15) * runs + "10" * rest
    packed = int(bits + "1" * (-len(bits) % 8), 2).to_bytes(-(-len(bits) // 8), "big").replace(b"\xff", b"\xff\0")
    more = segment(0xDA, b"\x01\x01\x00\x01\x3f\x00") + packed + between
    quantization = segment(0xDB, bytes([0]) + bytes([1] * 64))
    return b"\xff\xd8" + quantization + frame + tables + first + more * (num_scans - 1) + b"\xff\xd9"


def jpeg_with(start: bytes = b"", end: bytes = b"") -> bytes:
    """More before its first segment, or before its end."""
    plain = saved(Image.new("RGB", (64, 64)), "JPEG")
    return plain[:2] + start + plain[2:-2] + end + plain[-2:]


def tiff_of_strips(count: int, tag: int = 273) -> bytes:
    return tiff((tag, 4, count, 8), strip=bytes(4 * count))


def exif(num_values: int) -> bytes:
    """Upside down, which is why it would be written anew; and many numbers."""
    head = struct.pack("<2sHIHHHII", b"II", 42, 8, 2, 0x0112, 3, 1, 6)
    return head + struct.pack("<HHIII", 50_000, 4, num_values, 38, 0) + bytes(4 * num_values)


SLOW = [
    Case("JPEG, 2,500 scans", lambda: jpeg_of_scans(9_000, 2_500), "unusable: has more than 100 scans"),
    Case("JPEG, 100 scans", lambda: jpeg_of_scans(1_000, 100), "usable"),
    Case("JPEG, scans behind a false end", lambda: jpeg_of_scans(
        800, 101, segment(0xFE, b"\xff\xd9")
    ), "unusable: has more than 100 scans"),
    Case("JPEG, scans behind its end", lambda: jpeg_of_scans(800, 10) + b"\xff\xda" * 200 + b"\xff\xd9", "usable"),
    Case("JPEG, 4,000 pieces of Exif", lambda: jpeg_with(
        segment(0xE1, b"Exif\0\0" + bytes(890)) * 4_000
    ), "unusable: has Exif data in more than 20 pieces"),
    Case("JPEG, 10 MB of fill bytes", lambda: jpeg_with(b"\xff" * 10**7), TOO_MANY_PARTS),
    Case("JPEG, 10 MB of restart markers", lambda: jpeg_with(b"\xff\xd0" * 5 * 10**6), TOO_MANY_PARTS),
    Case("JPEG, 40 MB of fill bytes at its end", lambda: jpeg_with(
        end=b"\xff" * 4 * 10**7
    ), "unusable: has 100,000 fill bytes or more in a row"),
    Case("JPEG, 40 MB of fill bytes behind its end", lambda: jpeg_with() + b"\xff" * 4 * 10**7, "usable"),
    Case("JPEG, 17 MB of comments", lambda: jpeg_with(
        segment(0xFE, bytes(65_000)) * 270
    ), "unusable: has more than 16,777,216 bytes before its pixels"),
    Case("JPEG, colour profile of 3 MB", lambda: jpeg_with(segment(0xE2, bytes(65_000)) * 48), "usable"),
    Case("TIFF, 1,500,000 strips", lambda: tiff_of_strips(1_500_000), "unusable: has 1,500,00"),
    Case("TIFF, 1,500,000 numbers of an unknown tag", lambda: tiff_of_strips(
        1_500_000, 50_000
    ), "unusable: has 1,500,00"),
    Case("GIF, comment of 30 MB", lambda: gif(
        8, 8, b"!\xfe" + (b"\xff" + bytes(255)) * 120_000 + b"\0" + gif_frame(0, 0, 1, 1, b"\x44\x01")
    ), TOO_MANY_PARTS),
    Case("GIF, a million extensions", lambda: gif(
        8, 8, b"!\xf9\x04\0\0\0\0\0" * 10**6 + gif_frame(0, 0, 1, 1, b"\x44\x01")
    ), TOO_MANY_PARTS),
    Case("PNG, a million chunks", lambda: (
        small_png()[:33] + png((b"ruBi", b""))[8:] * 10**6 + small_png()[33:]
    ), TOO_MANY_PARTS),
    Case("PNG, a million chunks behind its pixels", lambda: (
        small_png()[:-12] + png((b"ruBi", b""))[8:] * 10**6 + small_png()[-12:]
    ), "unusable: has more than 500,000 parts"),
    Case("PNG, Exif of 8 MB", lambda: small_png((b"eXIf", exif(2_000_000))), "unusable: has 8,000,044 bytes of Exif"),
    Case("PNG, Exif of 8 MB behind its pixels", lambda: (
        small_png()[:-12] + png((b"eXIf", exif(2_000_000)))[8:] + small_png()[-12:]
    ), "unusable: has 8,000,044 bytes of Exif"),
    Case("WebP of 100 million pixels in 38 bytes", lambda: bytes.fromhex(
        "524946461e000000574542505650384c110000002ffebff50507508426f4a0ff8188e87f0000"
    ), "usable"),
    Case("BMP of runs, 13 kB for 90 million pixels", lambda: bmp(
        30_000, 3_000, 8, 1078, 1, bytes(1024) + b"\x01\x00\0\0" * 3_000
    ), "unusable: has 30000 x 3000 pixels, must have at most 10,000,000"),
    Case("BMP of runs, 2 million pixels", lambda: bmp(
        2_000, 1_000, 8, 1078, 1, bytes(1024) + b"\x01\x00\0\0" * 1_000
    ), "usable"),
]  # fmt: skip
