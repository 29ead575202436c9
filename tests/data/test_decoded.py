import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reconv.data import decoded as module
from reconv.data.decoded import DecodedImages
from reconv.data.decoding import Conversion
from reconv.data.storage import FolderStorage
from reconv.errors import DataError

ROOT, STATE = Path("images"), Path("decoded")
TO = Conversion(8, 1, "crop")


class CountingStorage(FolderStorage):
    def __init__(self) -> None:
        super().__init__(ROOT)
        self.num_reads = 0

    def read(self, name: str) -> bytes:
        self.num_reads += 1
        return super().read(name)


def put(value: int) -> str:
    path = ROOT / f"{value:03d}.png"
    path.parent.mkdir(exist_ok=True)
    Image.new("L", (9, 12), value).save(path)
    return path.name


def sums(names: list[str]) -> list[str]:
    return [hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in names]


def decode(names: list[str], to: Conversion = TO) -> tuple[DecodedImages, int]:
    """And how many files were read for it."""
    storage, decoded = CountingStorage(), DecodedImages(STATE, to)
    decoded.add(storage, names, sums(names), lambda *_: None)
    return decoded, storage.num_reads


def brightness(decoded: DecodedImages, names: list[str]) -> list[int]:
    return decoded.pixels[decoded.rows(sums(names))][:, 0, 0, 0].tolist()


def test_every_image_is_decoded_once() -> None:
    names = [put(value) for value in range(50)]

    first, num_read = decode(names)
    again, num_read_again = decode(names)

    assert (num_read, num_read_again) == (50, 0)
    assert brightness(first, names) == brightness(again, names) == list(range(50))


def test_new_images_cost_their_own_time_alone() -> None:
    names = [put(value) for value in range(20)]
    decode(names[:18])

    decoded, num_read = decode(names[::-1])

    assert num_read == 2
    assert brightness(decoded, names) == list(range(20))


def test_copies_are_decoded_once() -> None:
    name = put(7)
    (ROOT / "copy.png").write_bytes((ROOT / name).read_bytes())

    decoded, num_read = decode([name, "copy.png"])

    assert num_read == 1
    assert brightness(decoded, [name, "copy.png"]) == [7, 7]


def test_another_conversion_has_images_of_its_own() -> None:
    names = [put(value) for value in range(3)]
    decode(names)

    decoded, num_read = decode(names, Conversion(16, 3, "pad"))

    assert num_read == 3
    assert decoded.pixels.shape == (3, 16, 16, 3)


@pytest.mark.parametrize("torn", [("pixels", 30), ("sums", 20)])
def test_a_torn_end_is_never_taken_for_an_image(torn: tuple[str, int]) -> None:
    names = [put(value) for value in range(10)]
    decode(names[:6])
    (path,) = STATE.glob(f"*/{torn[0]}")
    with path.open("ab") as file:
        file.write(bytes([255] * torn[1]))

    decoded, num_read = decode(names)

    assert num_read == 4
    assert brightness(decoded, names) == list(range(10))


def test_what_was_lost_of_the_pixels_is_decoded_again() -> None:
    names = [put(value) for value in range(10)]
    decode(names)
    (path,) = STATE.glob("*/pixels")
    path.write_bytes(path.read_bytes()[: 7 * 64 + 5])

    decoded, num_read = decode(names)

    assert num_read == 3
    assert brightness(decoded, names) == list(range(10))


def test_an_interruption_loses_one_chunk_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_BYTES", 64 * 4)
    names = [put(value) for value in range(10)]

    class Interrupted(CountingStorage):
        def read(self, name: str) -> bytes:
            if name == names[9]:
                raise KeyboardInterrupt
            return super().read(name)

    with pytest.raises(KeyboardInterrupt):
        DecodedImages(STATE, TO).add(Interrupted(), names, sums(names), lambda *_: None)

    decoded, num_read = decode(names)
    assert num_read == 2
    assert brightness(decoded, names) == list(range(10))


def test_progress_counts_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_BYTES", 64 * 2)
    names = [put(value) for value in range(5)]
    decode(names[:1])
    said: list[tuple[int, int]] = []

    DecodedImages(STATE, TO).add(FolderStorage(ROOT), names, sums(names), lambda *at: said.append(at))

    assert said == [(2, 4), (4, 4)]


def test_what_cannot_be_decoded_is_named_and_not_tried_again() -> None:
    names = [put(1), put(2)]
    noise = Image.effect_noise((64, 64), 50)
    noise.save(ROOT / "cut.png")
    (ROOT / "cut.png").write_bytes((ROOT / "cut.png").read_bytes()[:-500])
    names.append("cut.png")

    decoded, num_read = decode(names)
    again, num_read_again = decode(names)

    assert (num_read, num_read_again) == (3, 0)
    assert list(decoded.problems) == list(again.problems) == sums(["cut.png"])
    assert decoded.problems[sums(["cut.png"])[0]].startswith("cannot be decoded (")
    assert brightness(again, names[:2]) == [1, 2]


def test_a_file_that_changed_since_it_was_listed_is_refused() -> None:
    name = put(1)
    listed = sums([name])
    Image.new("L", (9, 12), 99).save(ROOT / name)

    with pytest.raises(DataError, match=r"001\.png changed since it was listed: run `dvc repro --force fetch`"):
        DecodedImages(STATE, TO).add(FolderStorage(ROOT), [name], listed, lambda *_: None)


def test_the_bytes_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [put(value) for value in range(100)]
    decode(names)
    (path,) = STATE.glob("*/pixels")
    content = path.read_bytes()
    path.unlink()
    monkeypatch.setattr("os.cpu_count", lambda: 1)

    decode(names)

    assert path.read_bytes() == content
    assert np.frombuffer(content, np.uint8).reshape(100, -1)[:, 0].tolist() == list(range(100))
