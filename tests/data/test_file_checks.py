import numpy as np
import pytest
from hostile.images import noise, rgb, saved
from hostile.slow import jpeg_of_scans, tiff_of_strips

from reconv.data.decoding import Conversion, decode, read_header
from reconv.data.file_checks import MAX_SCANS, SMALL_BYTES
from reconv.errors import ImageError

SMALL = Conversion(8, 3, "crop")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_a_file_that_is_metered_gives_the_same_pixels(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = rgb(kind)
    expected = decode(content, SMALL)
    monkeypatch.setattr("reconv.data.file_checks.SMALL_BYTES", 0)

    assert np.array_equal(decode(content, SMALL), expected)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"compression": "jpeg"}])
def test_large_files_are_decoded(options: dict[str, object]) -> None:
    content = saved(noise(600, 600, 3), "TIFF" if "compression" in options else "JPEG", quality=95, **options)

    assert len(content) > SMALL_BYTES
    assert decode(content, SMALL).shape == SMALL.shape


def test_scans_are_counted_up_to_the_bound() -> None:
    assert decode(jpeg_of_scans(64, MAX_SCANS), SMALL).shape == SMALL.shape

    with pytest.raises(ImageError, match="has more than 100 scans, must have at most that"):
        decode(jpeg_of_scans(64, MAX_SCANS + 1), SMALL)


def test_offsets_of_a_tiff_are_counted_before_it_is_parsed() -> None:
    with pytest.raises(ImageError, match="has 600,005 offsets and other numbers, must have at most 500,000"):
        read_header(tiff_of_strips(600_000))
