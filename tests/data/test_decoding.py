import hashlib
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from reconv.data import decoding
from reconv.data.decoding import Channels, decode_all
from reconv.errors import DataError

SIZE = 8


def decode(
    *paths: Path, channels: Channels = "auto", size: int = SIZE, sums: list[str] | None = None
) -> NDArray[np.uint8]:
    sums = sums or [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    return decode_all(Path(), [str(path) for path in paths], sums, size, channels)


def save(image: Image.Image, name: str = "image.png", **options: object) -> Path:
    image.save(name, **options)
    return Path(name)


def flat(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (SIZE, SIZE), colour)


def sixteen_bit(value: int) -> Image.Image:
    return Image.fromarray(np.full((SIZE, SIZE), value, np.uint16))


RED = (255, 0, 0)


@pytest.mark.parametrize(
    ("image", "name", "expected"),
    [
        (flat("1", 1), "image.png", [255]),
        (flat("L", 100), "image.png", [100]),
        (flat("LA", (100, 50)), "image.png", [100]),
        (sixteen_bit(0x64FF), "image.png", [0x64]),
        (sixteen_bit(0xFFFF), "image.tif", [0xFF]),
        (flat("RGB", RED), "image.png", [255, 0, 0]),
        (flat("RGB", RED), "image.bmp", [255, 0, 0]),
        (flat("RGBA", (*RED, 128)), "image.png", [255, 0, 0]),
        (flat("RGB", RED).quantize(4), "image.png", [255, 0, 0]),
        (flat("RGB", RED), "image.gif", [255, 0, 0]),
        (flat("CMYK", (0, 255, 255, 0)), "image.tif", [255, 0, 0]),
    ],
    ids=lambda value: f"{value.mode}" if isinstance(value, Image.Image) else None,
)
def test_every_mode_becomes_grey_or_rgb(image: Image.Image, name: str, expected: list[int]) -> None:
    pixels = decode(save(image, name))

    assert pixels.dtype == np.uint8
    assert pixels.shape == (1, SIZE, SIZE, len(expected))
    assert (pixels == expected).all()


@pytest.mark.parametrize(("name", "options"), [("image.jpg", {"quality": 95}), ("image.webp", {"lossless": True})])
def test_photographic_formats_are_read(name: str, options: dict[str, object]) -> None:
    pixels = decode(save(flat("RGB", (200, 100, 50)), name, **options))

    np.testing.assert_allclose(pixels[0, 0, 0], (200, 100, 50), atol=4)


def test_palette_with_transparency_is_read() -> None:
    image = flat("RGB", RED).quantize(4)

    pixels = decode(save(image, transparency=bytes([0, 128, 255, 255])))

    assert (pixels == RED).all()


def test_one_coloured_image_makes_all_of_them_coloured() -> None:
    pixels = decode(save(flat("L", 100), "grey.png"), save(flat("RGB", RED), "red.png"))

    assert pixels[0, 0, 0].tolist() == [100, 100, 100]
    assert pixels[1, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(("channels", "expected"), [(1, [76]), (3, [255, 0, 0])])
def test_channels_can_be_asked_for(channels: Channels, expected: list[int]) -> None:
    assert decode(save(flat("RGB", RED)), channels=channels)[0, 0, 0].tolist() == expected


def test_camera_orientation_is_applied() -> None:
    pixels = np.zeros((SIZE, SIZE), np.uint8)
    pixels[:, :4] = 255  # bright on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise: the left becomes the top

    turned = decode(save(Image.fromarray(pixels), exif=exif))[0, :, :, 0]

    assert (turned[:4] == 255).all()
    assert (turned[4:] == 0).all()


def test_shorter_side_is_resized_and_the_centre_kept() -> None:
    wide = np.zeros((16, 48), np.uint8)
    wide[:, 16:32] = 200

    centre = decode(save(Image.fromarray(wide)))[0, :, 1:-1]  # at its sides the filter sees what was cut

    assert (centre == 200).all()


def test_order_is_that_of_the_list() -> None:
    paths = [save(flat("L", value), f"{value}.png") for value in range(30)]

    assert decode(*paths)[:, 0, 0, 0].tolist() == list(range(30))


def truncated() -> Path:
    path = save(Image.effect_noise((64, 64), 50))
    path.write_bytes(path.read_bytes()[:-500])
    return path


def no_image() -> Path:
    Path("image.png").write_bytes(b"<html>not found</html>")
    return Path("image.png")


def format_that_is_not_allowed() -> Path:
    return save(flat("RGB", RED), "image.ppm").rename("image.png")


def too_many_pixels() -> Path:
    return png_of_size(10_001, 10_000)


def bomb() -> Path:
    return png_of_size(60_000, 60_000)


def png_of_size(width: int, height: int) -> Path:
    """Only the header, which is all that may be read of it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    Path("image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    return Path("image.png")


@pytest.mark.parametrize("make", [truncated, no_image, format_that_is_not_allowed, too_many_pixels, bomb])
@pytest.mark.parametrize("channels", ["auto", 3])
def test_image_that_cannot_be_used_is_named(make: Callable[[], Path], channels: Channels) -> None:
    with pytest.raises(DataError, match=r"image\.png (cannot be decoded|has 10001 x 10000 pixels)"):
        decode(make(), channels=channels)


def test_image_below_the_limit_of_pixels_is_read() -> None:
    # 95 million: above the number from which Pillow by itself warns, below ours.
    path = save(Image.new("1", (9_500, 10_000)))

    assert decode(path).shape == (1, SIZE, SIZE, 1)


def test_changed_file_is_refused() -> None:
    path = save(flat("L", 100))

    with pytest.raises(DataError, match=r"image\.png changed since it was listed: run `dvc repro --force fetch`"):
        decode(path, sums=["0" * 64])


def test_missing_file_is_named() -> None:
    with pytest.raises(DataError, match=r"gone\.png cannot be read"):
        decode(Path("gone.png"), channels=1, sums=["0" * 64])


def test_every_failure_is_told_at_once() -> None:
    good = save(flat("L", 100), "good.png")
    for name in ("bad1.png", "bad2.png"):
        Path(name).write_bytes(b"x")

    with pytest.raises(DataError, match=r"(?s)2 of 3 images cannot be used:.*bad1\.png.*bad2\.png.*Repair or remove"):
        decode(Path("bad1.png"), good, Path("bad2.png"), channels=1)


def test_a_long_list_of_failures_is_cut() -> None:
    paths = [Path(f"{index:03d}.png") for index in range(25)]
    for path in paths:
        path.write_bytes(b"x")

    with pytest.raises(DataError) as refusal:
        decode(*paths, channels=1)

    assert str(refusal.value).startswith("25 of 25 images cannot be used")
    assert str(refusal.value).count("cannot be decoded") == 20


def test_limit_of_pixels_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_PIXELS", 63)

    with pytest.raises(DataError, match="has 8 x 8 pixels, must have at most 63"):
        decode(save(flat("L", 0)))
