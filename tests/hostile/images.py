"""Contents of image files: whole, broken, lying about themselves, something else. Called by the tests of the corpus."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
from hostile.case import Case
from PIL import Image
from pillow_heif import register_heif_opener

REFUSED = "unusable: cannot be decoded"
NO_IMAGE = "unusable: cannot be decoded (no format that is read)"
TOO_LARGE = "unusable: cannot be decoded (Image size"
CUT_OFF = "unusable: cannot be decoded (image file is truncated"


def noise(*shape: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rgb(kind: str, **options: object) -> bytes:
    return saved(noise(64, 64, 3), kind, **options)


def heic() -> bytes:
    register_heif_opener()
    return rgb("HEIF")


def frames(kind: str) -> bytes:
    return rgb(kind, save_all=True, append_images=[noise(64, 64, 3).rotate(90), noise(64, 64, 3).rotate(180)])


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def ihdr(width: int, height: int, depth: int = 8, colour: int = 0) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)


def png_of(width: int, height: int, pixels: bytes, *before: tuple[bytes, bytes], colour: int = 0) -> bytes:
    """`pixels` may be too few or too many."""
    return png(ihdr(width, height, colour=colour), *before, (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b""))


def small_png(*before: tuple[bytes, bytes]) -> bytes:
    return png_of(8, 8, bytes(8 * 9), *before)


@cache
def bomb(megabytes: int = 200) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(megabytes)) + packer.flush()


def tiff(*tags: tuple[int, int, int, int], next_ifd: int = 0, strip: bytes = bytes(64)) -> bytes:
    """Grey, 8 x 8, one strip at byte 8; `tags` (number, type, count, value) replace its own or are added."""
    own = {
        256: (256, 4, 1, 8), 257: (257, 4, 1, 8), 258: (258, 3, 1, 8), 259: (259, 3, 1, 1), 262: (262, 3, 1, 1),
        273: (273, 4, 1, 8), 277: (277, 3, 1, 1), 278: (278, 4, 1, 8), 279: (279, 4, 1, len(strip)),
    }  # fmt: skip
    own |= {tag[0]: tag for tag in tags}
    entries = b"".join(
        struct.pack("<HHII", *tag) if tag[1] == 4 else struct.pack("<HHIHH", *tag[:3], tag[3] & 0xFFFF, tag[3] >> 16)
        for tag in sorted(own.values())
    )
    ifd = struct.pack("<H", len(own)) + entries + struct.pack("<I", next_ifd)
    return struct.pack("<2sHI", b"II", 42, 8 + len(strip)) + strip + ifd


def bmp(width: int, height: int, bits: int = 24, offset: int = 54, packing: int = 0, data: bytes = bytes(192)) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, packing, len(data), 0, 0, 0, 0)
    return struct.pack("<2sIHHI", b"BM", 54 + len(data), 0, 0, offset) + header + data


def gif(width: int, height: int, frame: bytes) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + frame + b";"


def gif_frame(left: int, top: int, width: int, height: int, data: bytes) -> bytes:
    return b"," + struct.pack("<HHHHB", left, top, width, height, 0) + b"\x02" + bytes([len(data)]) + data + b"\x00"


def with_exif(exif: bytes) -> bytes:
    return rgb("JPEG", exif=b"Exif\0\0" + exif)


def with_orientation(value: int, kind: int = 3, count: int = 1) -> bytes:
    return with_exif(struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x0112, kind, count, value, 0))


def with_flipped_byte(content: bytes, at: float) -> bytes:
    changed = bytearray(content)
    changed[int(at * len(content))] ^= 0xFF
    return bytes(changed)


def with_zeros(content: bytes) -> bytes:
    """As a download that broke off may leave it."""
    return content[: len(content) // 2] + bytes(len(content) - len(content) // 2)


def replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    assert content.count(old) >= 1
    return content.replace(old, new, 1)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("evil.sh", "rm -rf /")
    return buffer.getvalue()


def cmyk(**options: object) -> bytes:
    return saved(noise(64, 64, 4).convert("RGB").convert("CMYK"), **options)


def floats() -> bytes:
    pixels = np.random.default_rng(0).random((8, 8), np.float32)
    pixels[2, 3], pixels[4, 5] = np.nan, np.inf
    return saved(Image.fromarray(pixels), "TIFF")


def truncated(kind: str, content: Callable[[], bytes]) -> list[Case[Callable[[], bytes]]]:
    def cut(tenth: int) -> Callable[[], bytes]:
        return lambda: content()[: len(content()) * tenth // 10]

    return [Case(f"{kind} cut at {tenth}0 %", cut(tenth), "unusable: cannot be decoded") for tenth in range(1, 10)]


TRUNCATED = [
    *truncated("JPEG", lambda: rgb("JPEG")),
    *truncated("progressive JPEG", lambda: rgb("JPEG", progressive=True)),
    *truncated("PNG", lambda: rgb("PNG")),
    *truncated("WebP", lambda: rgb("WEBP")),
    *truncated("lossless WebP", lambda: rgb("WEBP", lossless=True)),
    *truncated("GIF", lambda: rgb("GIF")),
    *truncated("TIFF", lambda: rgb("TIFF")),
    *truncated("packed TIFF", lambda: rgb("TIFF", compression="tiff_lzw")),
    *truncated("BMP", lambda: rgb("BMP")),
]

OF_A_KIND = [
    Case("JPEG, grey", lambda: saved(noise(64, 64), "JPEG"), "usable"),
    Case("JPEG, progressive", lambda: rgb("JPEG", progressive=True), "usable"),
    Case("JPEG, CMYK", lambda: cmyk(kind="JPEG"), "usable"),
    Case("JPEG, CMYK without Adobe's mark", lambda: replaced(cmyk(kind="JPEG"), b"Adobe", b"other"), "usable"),
    Case("JPEG, two in one (MPO)", lambda: frames("MPO"), "usable"),
    Case("PNG, interlaced", lambda: png(
        (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)),
        (b"IDAT", zlib.compress(bytes(64 + 15))), (b"IEND", b""),
    ), "usable"),
    Case("PNG, 1 bit", lambda: saved(noise(64, 64).convert("1"), "PNG"), "usable"),
    Case("PNG, 16 bits", lambda: saved(Image.fromarray(np.full((8, 8), 40_000, np.uint16)), "PNG"), "usable"),
    Case("PNG, palette with transparency", lambda: saved(
        noise(64, 64, 3).quantize(16), "PNG", transparency=bytes(range(0, 256, 16))
    ), "usable"),
    Case("PNG, grey with alpha", lambda: saved(noise(64, 64).convert("LA"), "PNG"), "usable"),
    Case("PNG, colours with alpha", lambda: saved(noise(64, 64, 4), "PNG"), "usable"),
    Case("PNG, animated", lambda: frames("PNG"), "usable"),
    Case("GIF, animated", lambda: frames("GIF"), "usable"),
    Case("GIF, transparent", lambda: saved(noise(64, 64, 3).quantize(16), "GIF", transparency=3), "usable"),
    Case("WebP, animated", lambda: frames("WEBP"), "usable"),
    Case("WebP, with alpha", lambda: saved(noise(64, 64, 4), "WEBP"), "usable"),
    Case("AVIF", lambda: rgb("AVIF"), "usable"),
    Case("AVIF, animated", lambda: frames("AVIF"), "usable"),
    Case("AVIF, cut off", lambda: rgb("AVIF")[:-500], REFUSED),
    Case("AVIF, half of it zeros", lambda: with_zeros(rgb("AVIF")), "usable"),
    Case("AVIF whose header says 20,000 x 20,000", lambda: replaced(
        rgb("AVIF"), struct.pack(">II", 64, 64), struct.pack(">II", 20_000, 20_000)
    ), NO_IMAGE),
    Case("HEIC", heic, "usable"),
    Case("HEIC, cut off", lambda: heic()[:-500], REFUSED),
    Case("HEIC whose header says 16,000 x 9,000", lambda: replaced(
        heic(), struct.pack(">II", 64, 64), struct.pack(">II", 16_000, 9_000)
    ), "unusable: has 16000 x 9000 pixels"),
    Case("a video in the container of HEIC", lambda: replaced(
        replaced(heic(), b"ftypheic", b"ftypisom"), b"heic", b"isom"
    ), NO_IMAGE),
    Case("TIFF, several pages", lambda: frames("TIFF"), "usable"),
    Case("TIFF, CMYK", lambda: cmyk(kind="TIFF"), "usable"),
    Case("TIFF, JPEG inside", lambda: rgb("TIFF", compression="jpeg"), "usable"),
    Case("TIFF, 16 bits", lambda: saved(Image.fromarray(np.full((8, 8), 40_000, np.uint16)), "TIFF"), "usable"),
    Case("TIFF, floating point with NaN", floats, "unusable: has pixels of floating point"),
    Case("BMP, from the top down", lambda: bmp(8, -8), "usable"),
    Case("BMP, 1 bit", lambda: saved(noise(64, 64).convert("1"), "BMP"), "usable"),
]  # fmt: skip

SIZES = [
    Case("1 x 1", lambda: saved(noise(1, 1), "PNG"), "usable"),
    Case("1 x 1 JPEG", lambda: saved(noise(1, 1), "JPEG"), "usable"),
    Case("60,000 x 1", lambda: saved(noise(1, 60_000), "PNG"), "usable"),
    Case("1 x 60,000", lambda: saved(noise(60_000, 1), "PNG"), "usable"),
    Case("60,000 x 1 JPEG", lambda: saved(noise(1, 60_000), "JPEG"), "usable"),
    Case("60,000 x 2,000, whole", lambda: png_of(60_000, 2_000, bytes(60_001 * 2_000)), "unusable: has 60000 x 2000"),
]  # fmt: skip

# At the limit: too slow to be prepared each by itself.
HUGE = [
    Case("100 million pixels, whole", lambda: saved(Image.new("1", (10_000, 10_000)), "PNG"), "usable"),
    Case("100 million pixels of four channels", lambda: png_of(
        10_000, 10_000, bytes(40_001 * 10_000), colour=6
    ), "usable"),
    Case("100 million pixels of 16 bits", lambda: png(
        ihdr(10_000, 10_000, 16), (b"IDAT", zlib.compress(bytes(20_001 * 10_000))), (b"IEND", b"")
    ), "usable"),
]  # fmt: skip

BOMBS = [
    Case("PNG header of 60,000 x 60,000", lambda: png_of(60_000, 60_000, b""), TOO_LARGE),
    Case("PNG header of 2^31 x 2^31", lambda: png_of(2**31 - 1, 2**31 - 1, b""), TOO_LARGE),
    Case("PNG header of 9,000 x 9,000, no pixels", lambda: png_of(9_000, 9_000, b"x"), REFUSED),
    Case("PNG header of 0 x 0", lambda: png_of(0, 0, b""), REFUSED),
    Case("PNG, 200 MB too many pixels", lambda: png(ihdr(8, 8), (b"IDAT", bomb()), (b"IEND", b"")), "usable"),
    Case("PNG, packed text of 200 MB", lambda: small_png((b"zTXt", b"a\0\0" + bomb())), REFUSED),
    Case("PNG, packed international text", lambda: small_png((b"iTXt", b"a\0\1\0\0\0" + bomb())), REFUSED),
    Case("PNG, packed colour profile of 200 MB", lambda: small_png((b"iCCP", b"a\0\0" + bomb())), REFUSED),
    Case("PNG, 10,000 texts", lambda: small_png(*[(b"zTXt", b"a\0\0" + bomb(1))] * 10_000), REFUSED),
    Case("JPEG header of 65,500 x 65,500", lambda: replaced(
        rgb("JPEG"), b"\x08\x00\x40\x00\x40\x03", b"\x08\xff\xdc\xff\xdc\x03"
    ), TOO_LARGE),
    Case("JPEG header of 9,000 x 9,000, few pixels", lambda: replaced(
        rgb("JPEG"), b"\x08\x00\x40\x00\x40\x03", b"\x08\x23\x28\x23\x28\x03"
    ), "usable"),
    Case("GIF canvas of 60,000 x 60,000", lambda: gif(60_000, 60_000, gif_frame(0, 0, 1, 1, b"\x44\x01")), TOO_LARGE),
    Case("GIF canvas of 9,000 x 9,000, frame of 1 x 1", lambda: gif(
        9_000, 9_000, gif_frame(0, 0, 1, 1, b"\x44\x01")
    ), "usable"),
    Case("GIF frame larger than the canvas", lambda: gif(8, 8, gif_frame(0, 0, 60_000, 60_000, b"\x44\x01")), REFUSED),
    Case("GIF without a frame", lambda: gif(8, 8, b""), REFUSED),
    Case("WebP canvas of 16,777,216 x 16,777,216", lambda: b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X"
        + struct.pack("<I", 10) + bytes(4) + b"\xff" * 6, REFUSED),
    Case("BMP header of 60,000 x 60,000", lambda: bmp(60_000, 60_000), TOO_LARGE),
    Case("BMP run of 9,000 x 9,000", lambda: bmp(
        9_000, 9_000, 8, 1078, 1, bytes(1024) + b"\xff\x00\x00\x01"
    ), "unusable: has 9000 x 9000 pixels, must have at most 10,000,000"),
    Case("BMP of no bits", lambda: bmp(8, 8, 0), REFUSED),
    Case("BMP pixels beyond its end", lambda: bmp(8, 8, offset=10_000), REFUSED),
    Case("TIFF header of 60,000 x 60,000", lambda: tiff((256, 4, 1, 60_000), (257, 4, 1, 60_000)), TOO_LARGE),
    Case("TIFF header of 2^32 x 2^32", lambda: tiff((256, 4, 1, 2**32 - 1), (257, 4, 1, 2**32 - 1)), TOO_LARGE),
    Case("TIFF of no size", lambda: tiff((256, 4, 1, 0)), REFUSED),
    Case("TIFF, packed 81 million pixels in 80 kB", lambda: tiff(
        (256, 4, 1, 9_000), (257, 4, 1, 9_000), (278, 4, 1, 9_000), (259, 3, 1, 8), strip=zlib.compress(bytes(9_000**2))
    ), "usable"),
]  # fmt: skip

LIES = [
    Case("TIFF, directory beyond the end", lambda: b"II*\0" + struct.pack("<I", 10_000), REFUSED),
    Case("TIFF, directory in the header", lambda: b"II*\0" + bytes(4), REFUSED),
    Case("TIFF, directories in a circle", lambda: tiff(next_ifd=72), "usable"),
    Case("TIFF, strip beyond the end", lambda: tiff((273, 4, 1, 10_000)), REFUSED),
    Case("TIFF, strip of 4 GB", lambda: tiff((279, 4, 1, 2**32 - 1)), "usable"),
    Case("TIFF, 4 billion strips", lambda: tiff((273, 4, 2**32 - 1, 8)), REFUSED),
    Case("TIFF, no rows in a strip", lambda: tiff((278, 4, 1, 0)), REFUSED),
    Case("TIFF, packed in an unknown way", lambda: tiff((259, 3, 1, 999)), REFUSED),
    Case("TIFF, packed, of noise", lambda: tiff((259, 3, 1, 5), strip=noise(8, 8).tobytes()), REFUSED),
    Case("TIFF, 65,535 samples a pixel", lambda: tiff((277, 3, 1, 65_535)), REFUSED),
    Case("PNG, wrong sum of the header", lambda: with_flipped_byte(small_png(), 30 / len(small_png())), REFUSED),
    Case("PNG, a byte of the packed pixels changed", lambda: with_flipped_byte(rgb("PNG"), 0.5), REFUSED),
    Case("PNG, no end", lambda: small_png()[:-12], "usable"),
    Case("PNG, palette that is not there", lambda: png_of(8, 8, bytes(8 * 9), colour=3), "usable"),
    Case("PNG, chunk of 4 GB", lambda: small_png()[:33] + b"\xff\xff\xff\xffIDAT" + bytes(99), REFUSED),
    Case("JPEG, cut and closed again", lambda: rgb("JPEG")[:3000] + b"\xff\xd9", "usable"),
    Case("JPEG, zeros from its half on", lambda: with_zeros(rgb("JPEG")), REFUSED),
    Case("PNG, zeros from its half on", lambda: with_zeros(rgb("PNG")), REFUSED),
    Case("GIF, zeros from its half on", lambda: with_zeros(rgb("GIF")), REFUSED),
    Case("WebP, zeros from its half on", lambda: with_zeros(rgb("WEBP")), "usable"),  # nothing tells
    Case("JPEG, its last two bytes missing", lambda: rgb("JPEG")[:-2], REFUSED),
    Case("JPEG, start alone", lambda: b"\xff\xd8\xff", REFUSED),
    Case("JPEG, garbage behind its end", lambda: rgb("JPEG") + bytes(10_000), "usable"),
    Case("JPEG, no quantization", lambda: replaced(rgb("JPEG"), b"\xff\xdb", b"\xff\xee"), REFUSED),
    Case("WebP, size beyond the end", lambda: replaced(
        rgb("WEBP"), rgb("WEBP")[4:8], struct.pack("<I", 2**31)
    ), REFUSED),
    Case("GIF, pixels of noise", lambda: gif(8, 8, gif_frame(0, 0, 8, 8, b"\xff" * 99)), REFUSED),
    Case("Exif, orientation 99", lambda: with_orientation(99), "usable"),
    Case("Exif, orientation as text", lambda: with_orientation(0x41414141, kind=2, count=4), "usable"),
    Case("Exif, orientation of 4 billion values", lambda: with_orientation(8, count=2**32 - 1), "usable"),
    Case("Exif, garbage", lambda: with_exif(b"\xff" * 500), "usable"),
    Case("Exif, cut off", lambda: with_exif(b"II*\0"), "usable"),
    Case("Exif, directory that holds itself", lambda: with_exif(
        struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x8769, 4, 1, 8, 8)
    ), "usable"),
    Case("PNG, garbage as Exif", lambda: small_png((b"eXIf", b"\xff" * 99)), "usable"),
    Case("JPEG, garbage as colour profile", lambda: rgb("JPEG", icc_profile=b"\xff" * 999), "usable"),
]  # fmt: skip

OTHERS = [
    Case("nothing", lambda: b"", "unusable: has 0 bytes"),
    Case("one byte", lambda: b"x", NO_IMAGE),
    Case("zeros", lambda: bytes(10_000), NO_IMAGE),
    Case("text", lambda: b"this is no image\n", NO_IMAGE),
    Case("HTML of an error page", lambda: b"<!DOCTYPE html><html><title>404</title></html>", NO_IMAGE),
    Case("SVG with a script", lambda: b"<?xml version='1.0'?><svg><script>alert(1)</script></svg>", NO_IMAGE),
    Case("PDF", lambda: b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF", NO_IMAGE),
    Case("PostScript that writes a file", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n(evil) (w) file", NO_IMAGE),
    Case("shell script", lambda: b"#!/bin/sh\nrm -rf $HOME\n", NO_IMAGE),
    Case("program for Windows", lambda: b"MZ" + bytes(500), NO_IMAGE),
    Case("pickle", lambda: b"cos\nsystem\n(S'touch evil'\ntR.", NO_IMAGE),
    Case("zip", zipped, NO_IMAGE),
    Case("PPM", lambda: rgb("PPM"), NO_IMAGE),
    Case("ICO", lambda: rgb("ICO"), NO_IMAGE),
    Case("TGA", lambda: rgb("TGA"), NO_IMAGE),
    Case("JPEG 2000", lambda: rgb("JPEG2000"), NO_IMAGE),
    Case("HEIC", lambda: b"\0\0\0\x18ftypheic" + bytes(500), NO_IMAGE),
    Case("JPEG with a zip behind it", lambda: rgb("JPEG") + zipped(), "usable"),
    Case("JPEG with a script in its comment", lambda: rgb("JPEG", comment=b"<?php system($_GET['c']); ?>"), "usable"),
    Case("PNG with a script as text", lambda: small_png((b"tEXt", b"a\0<script>alert(1)</script>")), "usable"),
    Case("PDF with a JPEG behind its head", lambda: b"%PDF-1.4\n" + rgb("JPEG"), NO_IMAGE),
    Case("script that starts like a GIF", lambda: b"GIF89a/*" + bytes(20) + b"*/=1;alert(1)", REFUSED),
]  # fmt: skip

IMAGES = [*TRUNCATED, *OF_A_KIND, *SIZES, *BOMBS, *LIES, *OTHERS]
