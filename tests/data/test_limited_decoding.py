"""Files that need more than the limits, through the real `fetch`, `prepare` and `predict`'s reader."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from preparing import fetch_and_prepare

from reconv.data import decoding, limited_decoding
from reconv.data.decoding import Conversion, Header
from reconv.data.processes import Limited, Limits
from reconv.data.storage import FolderStorage
from reconv.errors import ImageError
from reconv.prediction.inputs import FileReader

TO = Conversion(8, 1, "crop")
SLOW = Limits(seconds=0.05, memory_bytes=2**30)
SMALL = Limits(seconds=30, memory_bytes=64 * 2**20)


def png(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (side, side), 7).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def large() -> bytes:
    """12 kB of which decoding makes 100 MB, in a second."""
    return png(9990)


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[Limits], None]:
    def lower(limits: Limits) -> None:
        monkeypatch.setattr(limited_decoding, "CHEAP_PIXELS", 10_000)
        monkeypatch.setattr(limited_decoding, "_decode", Limited(decoding.decode, limits))

    return lower


@pytest.mark.parametrize(
    ("limits", "said"), [(SLOW, "needs more than 0.05 s of processor time"), (SMALL, "needs more than 0.0625 GiB")]
)
def test_a_file_that_needs_more_is_left_out_and_named_and_the_others_are_used(
    limits: Limits,
    said: str,
    large: bytes,
    params: Any,
    write_image_folder: Callable[..., Path],
    limit: Callable[[Limits], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_image_folder(Path("images"), 4)
    Path("images/left/slow.png").write_bytes(large)
    limit(limits)

    manifest, report = fetch_and_prepare(params.data.model_copy(update={"max_bad_share": 0.5}))

    (finding,) = (one for one in report.findings if one.kind == "unusable")
    assert [said in name and name.startswith("left/slow.png") for name in finding.files] == [True]
    assert sum(manifest.counts.values()) == 3 * 4


def test_predict_says_it_of_the_image_alone(large: bytes, limit: Callable[[Limits], None], tmp_path: Path) -> None:
    for name, content in {"a.png": png(9), "b.png": large, "c.png": png(200)}.items():
        (tmp_path / name).write_bytes(content)
    limit(SLOW)

    read = FileReader(FolderStorage(tmp_path)).read(["a.png", "b.png", "c.png"], TO)

    assert read.problems == {1: "needs more than 0.05 s of processor time"}
    assert read.images[:, 0, 0, 0].tolist() == [7, 0, 7]


def test_an_avif_is_limited_however_small_since_its_frame_may_be_larger_than_its_header_says(
    limit: Callable[[Limits], None],
) -> None:
    buffer = io.BytesIO()
    Image.new("L", (600, 600), 7).save(buffer, "AVIF", speed=10)
    lying = buffer.getvalue().replace(struct.pack(">II", 600, 600), struct.pack(">II", 8, 8))
    limit(Limits(seconds=30, memory_bytes=2**20))

    assert limited_decoding.read_header(lying) == Header(8, 8, is_grey=True)
    assert limited_decoding.decode(png(8), TO).shape == TO.shape
    with pytest.raises(ImageError, match=r"needs more than|cannot be decoded"):
        limited_decoding.decode(lying, TO)


def test_a_header_that_needs_more_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited_decoding, "CHEAP_BYTES", 1000)
    monkeypatch.setattr(limited_decoding, "_read_header", Limited(_read_slowly, SLOW))

    with pytest.raises(ImageError, match="processor time"):
        limited_decoding.read_header(bytes(1001))


def _read_slowly(_: bytes) -> None:
    while True:
        pass


def test_what_is_decoded_in_a_process_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 120, 3), np.uint8)).save(buffer, "JPEG")
    content = buffer.getvalue()
    here = limited_decoding.read_header(content), limited_decoding.decode(content, TO)
    monkeypatch.setattr(limited_decoding, "CHEAP_BYTES", 0)

    there = limited_decoding.read_header(content), limited_decoding.decode(content, TO)

    assert there[0] == here[0]
    np.testing.assert_array_equal(there[1], here[1])
