import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hostile.images import ihdr, png, tiff
from numpy.typing import NDArray
from PIL import Image
from preparing import DECODED, PREPARED, RAW, fetch_and_prepare

from reconv.data.arrays import PreparedData
from reconv.data.decoding import Conversion, Extremes, decode, read_header
from reconv.data.packing import prepare
from reconv.data.sources import fetch
from reconv.data.value_range import FULL_RANGE, ValueRange, scaled, used_range
from reconv.errors import DataError
from reconv.params import DataParams, Params

SIDE = 24


def drawn(low: int, high: int, seed: int, *shape: int) -> NDArray[np.int32]:
    """Every value from low to high is there, as far as there is room."""
    values = np.linspace(low, high, SIDE * SIDE * int(np.prod(shape))).astype(np.int32)
    return np.random.default_rng(seed).permutation(values).reshape(SIDE, SIDE, *shape)


def colour_png(values: NDArray[np.integer]) -> bytes:
    """16 bits per channel, which Pillow cannot write."""
    height, width, channels = values.shape
    rows = np.pad(values.astype(">u2").view(np.uint8).reshape(height, -1), ((0, 0), (1, 0)))
    header = ihdr(width, height, 16, {3: 2, 4: 6}[channels])
    return png(header, (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))


def colour_tiff(values: NDArray[np.integer]) -> bytes:
    """16 bits per channel, packed as libtiff reads it."""
    strip = zlib.compress(values.astype("<u2").tobytes())
    height, width, channels = values.shape
    bits_at = 8 + len(strip)
    bits = np.full(channels, 16, "<u2").tobytes()
    tags = ((256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, bits_at), (259, 3, 1, 8), (262, 3, 1, 2))
    more = ((277, 3, 1, channels), (278, 4, 1, height), (279, 4, 1, len(strip)))
    return tiff(*tags, *more, strip=strip + bits)


def grey_file(values: NDArray[np.integer], kind: str) -> bytes:
    path = Path(f"grey.{kind}")
    plain = values.astype(np.int32) if values.min() < 0 or values.max() > 65535 else values.astype(np.uint16)
    Image.fromarray(plain).save(path)
    return path.read_bytes()


def big_endian_tiff(values: NDArray[np.integer]) -> bytes:
    Image.frombytes("I;16B", values.shape[::-1], values.astype(">u2").tobytes()).save("big.tif")
    return Path("big.tif").read_bytes()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 255, (0, 255)),
        (0, 9, (0, 255)),
        (0, 256, (0, 511)),
        (3, 1000, (0, 1023)),
        (200, 4095, (0, 4095)),
        (0, 40_000, FULL_RANGE),
        (20_000, 40_000, FULL_RANGE),
        (0, 70_000, (0, 131_071)),
        (-1024, 3071, (-1024, 4095)),
        (-1000, 2000, (-1024, 2047)),
        (-1, 4095, (-1, 4095)),
        (-500, -20, (-512, 255)),
        (32_768 - 1024, 32_768 + 3071, (31_744, 35_839)),  # signed, stored with 32,768 added
    ],
)
def test_the_range_is_that_of_the_bits_in_use(low: int, high: int, expected: ValueRange) -> None:
    assert used_range(np.array([[low, high], [low, (low + high) // 2]])) == expected


def test_one_in_a_thousand_images_may_lie_beyond_the_range() -> None:
    extremes = np.tile([0, 4000], (2000, 1))
    extremes[:2] = -30_000, 60_000
    assert used_range(extremes) == (0, 4095)
    extremes[2] = -30_000, 60_000
    assert used_range(extremes) == (-32_768, 65_535)


def test_the_full_range_is_the_upper_8_of_16_bits() -> None:
    values = np.arange(65_536)

    assert (scaled(values, FULL_RANGE) == values >> 8).all()
    assert scaled(np.array([-2000, -1024, 1536, 4095, 9999]), (-1024, 4095)).tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize(
    ("write", "channels"),
    [
        (lambda values: grey_file(values, "png"), ()),
        (lambda values: grey_file(values, "tif"), ()),
        (big_endian_tiff, ()),
        (colour_png, (3,)),
        (colour_png, (4,)),
        (colour_tiff, (3,)),
    ],
    ids=["grey PNG", "grey TIFF", "grey TIFF, big endian", "colour PNG", "colour PNG with alpha", "packed colour TIFF"],
)
def test_all_16_bits_are_measured_and_scaled(
    write: Callable[[NDArray[np.integer]], bytes], channels: tuple[int, ...]
) -> None:
    values = drawn(3, 4000, 0, *channels)
    file = write(values)

    low, high = decode(file, Extremes()).ravel().view("<i4")
    narrow = decode(file, Conversion(SIDE, 3 if channels else 1, "crop", value_range=(0, 4095)))

    assert read_header(file).is_deep
    assert 3 < low < 30
    assert 3900 < high < 4000
    np.testing.assert_array_equal(narrow.squeeze(), (values[..., :3] if channels else values) >> 4)


def test_hot_pixels_do_not_count() -> None:
    values = drawn(0, 4000, 0)
    values[3, 4] = 65_535

    assert decode(grey_file(values, "png"), Extremes()).ravel().view("<i4")[1] <= 4000


def test_a_big_endian_tiff_is_resized_as_a_little_endian_one() -> None:
    values, to = drawn(0, 65_535, 0), Conversion(8, 1, "pad")

    np.testing.assert_array_equal(decode(big_endian_tiff(values), to), decode(grey_file(values, "tif"), to))


def test_what_is_padded_is_black() -> None:
    values = drawn(-1024, 3000, 0)[:12]

    padded = decode(grey_file(values, "tif"), Conversion(SIDE, 1, "pad", value_range=(-1024, 4095)))

    assert not padded[:5].any()


def folder_of(low: int, high: int, kind: str = "png") -> None:
    for number in range(24):
        path = Path(f"images/{'ab'[number % 2]}/{number}.{kind}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(grey_file(drawn(low, high, number), kind))


@pytest.fixture
def data(params: Params) -> DataParams:
    return params.data.model_copy(update={"source": "folder:images", "image_size": SIDE, "channels": "auto"})


@pytest.mark.parametrize(
    ("low", "high", "kind", "expected"),
    [
        (0, 1000, "png", (0, 1023)),
        (0, 4000, "tif", (0, 4095)),
        (-1024, 3000, "tif", (-1024, 4095)),
        (0, 100_000, "tif", (0, 131_071)),
    ],
    ids=["10 bits", "12 bits", "Hounsfield units", "17 bits"],
)
def test_prepare_finds_the_range_says_it_and_keeps_it(
    low: int, high: int, kind: str, expected: ValueRange, data: DataParams
) -> None:
    folder_of(low, high, kind)
    (Path("images/a") / "plain.png").write_bytes(b"")  # a bad file besides

    manifest, report = fetch_and_prepare(data.model_copy(update={"max_bad_share": 0.5}))

    assert manifest.value_range == PreparedData(PREPARED).manifest.value_range == expected
    assert len(np.unique(PreparedData(PREPARED).test.images)) > 150
    (text,) = (one.text for one in report.findings if one.kind == "value range")
    assert text == f"24 images with more than 8 bits: {expected[0]:,} becomes black, {expected[1]:,} white."


def test_true_16_bits_stay_the_upper_8(data: DataParams) -> None:
    folder_of(0, 65_535)

    manifest, _ = fetch_and_prepare(data)

    assert "value_range" not in manifest.model_dump()
    expected = {(drawn(0, 65_535, number) >> 8).astype(np.uint8).tobytes() for number in range(24)}
    assert {image.tobytes() for image in PreparedData(PREPARED).test.images[:]} < expected


def test_images_of_8_bits_say_nothing_of_a_range(data: DataParams, write_image_folder: Callable[..., Path]) -> None:
    write_image_folder(Path("images"), 10)

    _, report = fetch_and_prepare(data)

    assert [one for one in report.findings if one.kind == "value range"] == []


def test_a_file_that_changes_while_it_is_measured_stops_it(data: DataParams) -> None:
    folder_of(0, 1000)
    fetch(data.source, None, RAW, lambda _: None)
    Path("images/a/0.png").write_bytes(grey_file(drawn(0, 9, 0), "png"))

    with pytest.raises(DataError, match=r"a/0\.png changed since it was listed"):
        prepare(data, RAW, PREPARED, DECODED, lambda *_: None)
