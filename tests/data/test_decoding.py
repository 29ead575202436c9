import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image

from reconv.data import decoding, file_checks
from reconv.data.decoding import (
    Conversion,
    Header,
    Resize,
    decode,
    is_image,
    read_header,
)
from reconv.errors import ImageError

SIZE = 8


def convert(path: Path, channels: Literal[1, 3] = 3, size: int = SIZE, resize: Resize = "crop") -> NDArray[np.uint8]:
    return decode(path.read_bytes(), Conversion(size, channels, resize))


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
    pixels = convert(save(image, name), channels=1 if len(expected) == 1 else 3)

    assert pixels.dtype == np.uint8
    assert pixels.shape == (SIZE, SIZE, len(expected))
    assert (pixels == expected).all()


@pytest.mark.parametrize(("name", "options"), [("image.jpg", {"quality": 95}), ("image.webp", {"lossless": True})])
def test_photographic_formats_are_read(name: str, options: dict[str, object]) -> None:
    pixels = convert(save(flat("RGB", (200, 100, 50)), name, **options))

    np.testing.assert_allclose(pixels[0, 0], (200, 100, 50), atol=4)


def test_palette_with_transparency_is_read() -> None:
    image = flat("RGB", RED).quantize(4)

    pixels = convert(save(image, transparency=bytes([0, 128, 255, 255])))

    assert (pixels == RED).all()


@pytest.mark.parametrize(("channels", "expected"), [(1, [76]), (3, [255, 0, 0])])
def test_channels_can_be_asked_for(channels: Literal[1, 3], expected: list[int]) -> None:
    assert convert(save(flat("RGB", RED)), channels=channels)[0, 0].tolist() == expected


def test_camera_orientation_is_applied() -> None:
    pixels = np.zeros((SIZE, SIZE), np.uint8)
    pixels[:, :4] = 255  # bright on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise: the left becomes the top

    turned = convert(save(Image.fromarray(pixels), exif=exif))[:, :, 0]

    assert (turned[:4] == 255).all()
    assert (turned[4:] == 0).all()


def test_shorter_side_is_resized_and_the_centre_kept() -> None:
    wide = np.zeros((16, 48), np.uint8)
    wide[:, 16:32] = 200

    centre = convert(save(Image.fromarray(wide)))[:, 1:-1]  # at its sides the filter sees what was cut

    assert (centre == 200).all()


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


@pytest.mark.parametrize("make", [no_image, format_that_is_not_allowed, too_many_pixels, bomb])
def test_most_of_that_is_known_from_the_header(make: Callable[[], Path]) -> None:
    with pytest.raises(ImageError, match=r"^(cannot be decoded|has 10001 x 10000 pixels)"):
        read_header(make().read_bytes())


def test_image_below_the_limit_of_pixels_is_read() -> None:
    # 95 million: above the number from which Pillow by itself warns, below ours.
    path = save(Image.new("1", (9_500, 10_000)))

    assert convert(path, channels=1).shape == (SIZE, SIZE, 1)


def test_limit_of_pixels_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_checks, "MAX_PIXELS", 63)

    with pytest.raises(ImageError, match="has 8 x 8 pixels, must have at most 63"):
        convert(save(flat("L", 0)))


@pytest.mark.parametrize(
    ("image", "is_grey"),
    [(flat("1", 1), True), (flat("LA", (1, 2)), True), (sixteen_bit(9), True), (flat("RGB", RED), False)],
    ids=["1", "LA", "16 bit", "RGB"],
)
def test_the_header_says_whether_there_are_colours(image: Image.Image, is_grey: bool) -> None:
    header = read_header(save(image).read_bytes())

    assert header == Header(SIZE, SIZE, is_grey, is_deep=image.mode == "I;16")


def test_the_header_says_how_large_the_upright_image_is() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6

    assert read_header(save(Image.new("L", (30, 20)), exif=exif).read_bytes()) == Header(30, 20, is_grey=True)


@pytest.mark.parametrize(
    ("resize", "expected"),
    [("crop", [200] * 8), ("pad", [0, 0, 50, 200, 200, 50, 0, 0]), ("stretch", [50, 50, 200, 200, 200, 200, 50, 50])],
)
def test_what_becomes_of_other_proportions(resize: Resize, expected: list[int]) -> None:
    wide = np.full((16, 32), 50, np.uint8)
    wide[:, 8:24] = 200

    row = convert(save(Image.fromarray(wide)), channels=1, resize=resize)

    if resize == "pad":  # 8 x 4 within 8 x 8
        assert (row[:2] == row[-2:]).all()
        assert not row[:2].any()
        np.testing.assert_allclose(row[3, :, 0], [50, 50, 200, 200, 200, 200, 50, 50], atol=40)
    else:
        np.testing.assert_allclose(row[4, 1:-1, 0], expected[1:-1], atol=40)


@pytest.mark.parametrize("size", [(640, 480), (481, 641)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_large_jpeg_is_decoded_at_a_smaller_scale_to_nearly_the_same(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], channels: Literal[1, 3]
) -> None:
    smooth = Image.effect_noise((12, 9), 60).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    path = save(smooth, "image.jpg", quality=95)
    drafted = convert(path, channels=channels, size=32)
    monkeypatch.setattr(decoding, "_DRAFT_TIMES", 10_000)
    whole = convert(path, channels=channels, size=32)

    assert np.abs(drafted.astype(int) - whole.astype(int)).mean() <= 3
    assert not np.array_equal(drafted, whole)  # it was another way


def test_only_the_first_frame_counts() -> None:
    path = save(flat("L", 10), "image.gif", save_all=True, append_images=[flat("L", 200)])

    assert (convert(path, channels=1) == 10).all()


def test_the_header_of_a_turned_tiff_says_how_large_the_upright_image_is() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6

    path = save(Image.new("L", (30, 20)), "image.tif", exif=exif)

    assert read_header(path.read_bytes()) == Header(30, 20, is_grey=True)


def test_the_header_is_read_without_the_pixels() -> None:
    path = png_of_size(9_000, 9_000)
    path.write_bytes(path.read_bytes() + b"\0\0\0\4IDATnone\0\0\0\0")

    assert read_header(path.read_bytes()) == Header(9_000, 9_000, is_grey=True)
    with pytest.raises(ImageError, match="cannot be decoded"):
        convert(path)


def test_a_jpeg_whose_end_is_missing_is_refused_before_it_is_decoded() -> None:
    content = save(Image.effect_noise((64, 64), 50), "image.jpg").read_bytes()
    broken_off = content[:1000] + bytes(len(content) - 1000)

    with pytest.raises(ImageError, match="its end is missing"):
        read_header(broken_off)


def test_sixteen_bits_are_resized_before_they_become_eight() -> None:
    path = save(Image.fromarray(np.full((3 * SIZE, 3 * SIZE), 0x64FF, np.uint16)))

    assert (convert(path, channels=1) == 0x64).all()


def test_cmyk_of_a_jpeg_is_inverted_as_adobe_does() -> None:
    path = save(flat("CMYK", (0, 255, 255, 0)), "image.jpg", quality=95)

    np.testing.assert_allclose(convert(path)[0, 0], RED, atol=4)


def picture_in_opacity(mode: str) -> Image.Image:
    """Black everywhere, opaque in the left half."""
    opacity = Image.new("L", (SIZE, SIZE), 0)
    opacity.paste(255, (0, 0, SIZE // 2, SIZE))
    image = Image.new(mode, (SIZE, SIZE), 0)
    image.putalpha(opacity)
    return image


def one_transparent(mode: str) -> Image.Image:
    """Black and nearly black in the left half, of which the right half's black is the transparent colour."""
    image = Image.new(mode, (SIZE, SIZE), 0)
    image.paste(
        1 if mode == "P" else Image.new(mode, (1, 1), 1 if mode != "RGB" else (1, 1, 1)).getpixel((0, 0)),
        (0, 0, SIZE // 2, SIZE),
    )
    return image


@pytest.mark.parametrize(
    ("image", "name", "options"),
    [
        (picture_in_opacity("RGB"), "image.png", {}),
        (picture_in_opacity("L"), "image.png", {}),
        (picture_in_opacity("RGB"), "image.tif", {}),
        (picture_in_opacity("RGB"), "image.webp", {"lossless": True, "exact": True}),
        (picture_in_opacity("RGB"), "image.avif", {"quality": 100}),
        (one_transparent("P"), "image.png", {"transparency": bytes([0, 255])}),
        (one_transparent("P"), "image.png", {"transparency": 0}),
        (one_transparent("P"), "image.gif", {"transparency": 0}),
        (one_transparent("L"), "image.png", {"transparency": 0}),
        (one_transparent("RGB"), "image.png", {"transparency": (0, 0, 0)}),
        (one_transparent("I;16"), "image.png", {"transparency": 0}),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_seen_through_transparent_pixels(
    image: Image.Image, name: str, options: dict[str, object], channels: Literal[1, 3]
) -> None:
    content = save(image, name, **options).read_bytes()
    for ground, seen in (("ignore", 0), ("white", 255), ("black", 0)):
        pixels = decode(content, Conversion(SIZE, channels, "crop", ground))

        assert (pixels[:, : SIZE // 2] <= 3).all()
        assert (np.abs(pixels[:, SIZE // 2 :].astype(int) - seen) <= 3).all()


def heic(image: Image.Image, **options: object) -> bytes:
    pillow_heif.register_heif_opener()
    return save(image, "image.heic", quality=95, **options).read_bytes()


def avif(image: Image.Image, **options: object) -> bytes:
    return save(image, "image.avif", quality=95, **options).read_bytes()


@pytest.mark.parametrize("make", [avif, heic])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_frames_of_video_codecs_are_read_upright(make: Callable[..., bytes], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.new("RGB", (48, 32), (200, 50, 10))
    image.paste((10, 50, 200), (0, 0, 16, 16))
    as_png = save(image, exif=exif.tobytes())

    content = make(image, exif=exif.tobytes())

    assert read_header(content) == read_header(as_png.read_bytes())
    np.testing.assert_allclose(
        decode(content, Conversion(SIZE, 3, "stretch")), convert(as_png, resize="stretch"), atol=12
    )


@pytest.mark.parametrize("make", [avif, heic])
def test_frames_of_video_codecs_are_grey_and_the_first_of_several(make: Callable[..., bytes]) -> None:
    content = make(flat("L", 10), save_all=True, append_images=[flat("L", 200)])

    assert read_header(content).is_grey
    np.testing.assert_allclose(decode(content, Conversion(SIZE, 1, "crop")), 10, atol=3)


def test_without_the_plugin_heic_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    content = heic(flat("RGB", RED))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    decoding._register_heic.cache_clear()

    with pytest.raises(ImageError, match=r"^is a HEIC image: `pip install 'reconv\[heic\]'` to read it$"):
        read_header(content)
    decoding._register_heic.cache_clear()


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "bmp", "tif", "webp", "avif", "heic"])
def test_an_image_is_known_by_its_first_bytes(kind: str) -> None:
    content = heic(flat("RGB", RED)) if kind == "heic" else save(flat("RGB", RED), f"image.{kind}").read_bytes()

    assert is_image(content[:32], "")


@pytest.mark.parametrize(
    "content",
    [b"", b"BMW and others", b"RIFF\0\0\0\0WAVE", b"\0\0\0\x18ftypisom\0\0\0\0isommp41", b"%PDF-1.7", b"PK\3\4"],
)
def test_other_files_are_not_taken_for_images(content: bytes) -> None:
    assert not is_image(content, "")
