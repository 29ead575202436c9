import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from PIL import Image

from reconv.data import decoded as module
from reconv.data.decoded import DecodedImages
from reconv.data.decoding import Conversion
from reconv.data.storage import ArchiveStorage, FolderStorage
from reconv.errors import DataError

ROOT, STATE = Path("images"), Path("decoded")
TO = Conversion(8, 1, "crop")


def put(value: int) -> str:
    path = ROOT / f"{value:03d}.png"
    path.parent.mkdir(exist_ok=True)
    Image.new("L", (9, 12), value).save(path)
    return path.name


def sums(names: list[str]) -> list[str]:
    return [hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in names]


def decode(names: list[str], to: Conversion = TO) -> tuple[DecodedImages, int]:
    """And how many were decoded for it."""
    decoded, said = DecodedImages(STATE, to), [(0, 0)]
    decoded.add(FolderStorage(ROOT), names, sums(names), lambda *at: said.append(at))
    return decoded, said[-1][1]


def brightness(decoded: DecodedImages, names: list[str]) -> list[int]:
    return decoded.pixels[decoded.rows(sums(names))][:, 0, 0, 0].tolist()


def test_every_image_is_decoded_once() -> None:
    names = [put(value) for value in range(50)]

    first, num_decoded = decode(names)
    again, num_decoded_again = decode(names)

    assert (num_decoded, num_decoded_again) == (50, 0)
    assert brightness(first, names) == brightness(again, names) == list(range(50))


def test_new_images_cost_their_own_time_alone() -> None:
    names = [put(value) for value in range(20)]
    decode(names[:18])

    decoded, num_decoded = decode(names[::-1])

    assert num_decoded == 2
    assert brightness(decoded, names) == list(range(20))


def test_copies_are_decoded_once() -> None:
    name = put(7)
    (ROOT / "copy.png").write_bytes((ROOT / name).read_bytes())

    decoded, num_decoded = decode([name, "copy.png"])

    assert num_decoded == 1
    assert brightness(decoded, [name, "copy.png"]) == [7, 7]


def test_another_conversion_has_images_of_its_own() -> None:
    names = [put(value) for value in range(3)]
    decode(names)

    decoded, num_decoded = decode(names, Conversion(16, 3, "pad"))

    assert num_decoded == 3
    assert decoded.pixels.shape == (3, 16, 16, 3)


@pytest.mark.parametrize("torn", [("pixels", 30), ("sums", 20)])
def test_a_torn_end_is_never_taken_for_an_image(torn: tuple[str, int]) -> None:
    names = [put(value) for value in range(10)]
    decode(names[:6])
    (path,) = STATE.glob(f"*/{torn[0]}")
    with path.open("ab") as file:
        file.write(bytes([255] * torn[1]))

    decoded, num_decoded = decode(names)

    assert num_decoded == 4
    assert brightness(decoded, names) == list(range(10))


def test_what_was_lost_of_the_pixels_is_decoded_again() -> None:
    names = [put(value) for value in range(10)]
    decode(names)
    (path,) = STATE.glob("*/pixels")
    path.write_bytes(path.read_bytes()[: 7 * 64 + 5])

    decoded, num_decoded = decode(names)

    assert num_decoded == 3
    assert brightness(decoded, names) == list(range(10))


def test_an_interruption_loses_one_chunk_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_BYTES", 64 * 4)
    names = [put(value) for value in range(10)]

    def interrupt(done: int, _: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        DecodedImages(STATE, TO).add(FolderStorage(ROOT), names, sums(names), interrupt)

    decoded, num_decoded = decode(names)
    assert num_decoded == 2
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

    decoded, num_decoded = decode(names)
    again, num_decoded_again = decode(names)

    assert (num_decoded, num_decoded_again) == (3, 0)
    assert list(decoded.problems) == list(again.problems) == sums(["cut.png"])
    assert decoded.problems[sums(["cut.png"])[0]].startswith("cannot be decoded (")
    assert brightness(again, names[:2]) == [1, 2]


def test_a_file_that_changed_since_it_was_listed_is_refused() -> None:
    name = put(1)
    listed = sums([name])
    Image.new("L", (9, 12), 99).save(ROOT / name)

    with pytest.raises(DataError, match=r"001\.png changed since it was listed: run `dvc repro --force fetch`"):
        DecodedImages(STATE, TO).add(FolderStorage(ROOT), [name], listed, lambda *_: None)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "gztar"])
def test_processes_decode_to_the_same_bytes(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    names = [put(value) for value in range(100)]
    (ROOT / "bad.png").write_bytes(b"<html>")
    names.append("bad.png")
    alone, _ = decode(names)
    content = alone.pixels.tobytes()
    shutil.rmtree(STATE)
    monkeypatch.setattr(module, "_FEW_IMAGES", 10)
    if kind == "folder":
        together, _ = decode(names)
    else:
        archive = Path(shutil.make_archive("packed", kind, ROOT))
        together = DecodedImages(STATE, TO)
        with ArchiveStorage(archive) as storage:
            together.add(storage, [f"./{name}" for name in names], sums(names), lambda *_: None)

    assert together.pixels.tobytes() == content
    assert together.problems == alone.problems != {}


@pytest.mark.slow
def test_a_process_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [put(value) for value in range(20)]
    monkeypatch.setattr(module, "_FEW_IMAGES", 10)
    monkeypatch.setattr(module, "_open", os.abort)

    with pytest.raises(DataError, match="a process that decoded images died"):
        DecodedImages(STATE, TO).add(FolderStorage(ROOT), names, sums(names), lambda *_: None)


_DECODE_FOR_EVER = """
import time
from pathlib import Path
from reconv.data import decoded
from reconv.data.decoding import Conversion
from reconv.data.storage import FolderStorage

if __name__ == "__main__":
    images = [(str(index), f"{index}.png") for index in range(1000)]
    with decoded._Decoders(FolderStorage(Path("images")), Conversion(8, 1, "crop"), len(images)) as decoders:
        print(next(decoders.decode(images)), flush=True)
        time.sleep(60)
"""


@pytest.mark.slow
def test_processes_end_with_a_parent_that_is_killed() -> None:
    put(1)
    Path("script.py").write_text(_DECODE_FOR_EVER)
    parent = subprocess.Popen([sys.executable, "script.py"], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert "cannot be read" in parent.stdout.readline()
    children = psutil.Process(parent.pid).children(recursive=True)

    parent.kill()
    parent.communicate()

    assert len(children) >= 2
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
