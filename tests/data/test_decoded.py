import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image

from reconv.data import decoded as module
from reconv.data import decoders, processes
from reconv.data.archives import ArchiveStorage
from reconv.data.decoded import DecodedImages
from reconv.data.decoders import decode_locally
from reconv.data.decoding import Conversion
from reconv.data.storage import FolderStorage
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


def digests(names: list[str]) -> np.ndarray:
    return np.array([bytes.fromhex(one) for one in sums(names)], "S32")


def add(names: list[str], say: Callable[[int, int], None], to: Conversion = TO) -> DecodedImages:
    decoded = DecodedImages(STATE, to)
    decoded.add(FolderStorage(ROOT), pd.Series(names), digests(names), decode_locally, say)
    return decoded


def decode(names: list[str], to: Conversion = TO) -> tuple[DecodedImages, int]:
    """And how many were decoded for it."""
    said = [(0, 0)]
    return add(names, lambda *at: said.append(at), to), said[-1][1]


def brightness(decoded: DecodedImages, names: list[str]) -> list[int]:
    return decoded.pixels[decoded.rows(digests(names))][:, 0, 0, 0].tolist()


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


@pytest.mark.parametrize("torn", [("pixels", 30), ("records", 20)])
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
    monkeypatch.setattr(module, "_CHUNK_IMAGES", 4)
    names = [put(value) for value in range(10)]

    def interrupt(done: int, _: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(names, interrupt)

    decoded, num_decoded = decode(names)
    assert num_decoded == 2
    assert brightness(decoded, names) == list(range(10))


def test_progress_counts_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_IMAGES", 2)
    names = [put(value) for value in range(5)]
    decode(names[:1])
    said: list[tuple[int, int]] = []

    add(names, lambda *at: said.append(at))

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
    listed = digests([name])
    Image.new("L", (9, 12), 99).save(ROOT / name)

    with pytest.raises(DataError, match=r"001\.png changed since it was listed: run `dvc repro --force fetch`"):
        DecodedImages(STATE, TO).add(FolderStorage(ROOT), pd.Series([name]), listed, decode_locally, lambda *_: None)


def test_a_file_that_is_gone_since_it_was_listed_stops_it_and_counts_as_no_bad_image() -> None:
    names = [put(1), put(2)]
    listed = digests(names)
    (ROOT / names[1]).unlink()

    with pytest.raises(DataError, match=r"002\.png cannot be read .*when it was listed: run `dvc repro --force fetch`"):
        DecodedImages(STATE, TO).add(FolderStorage(ROOT), pd.Series(names), listed, decode_locally, lambda *_: None)

    put(2)
    assert decode(names)[0].problems == {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "gztar"])
def test_processes_decode_to_the_same_bytes(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    names = [put(value) for value in range(100)]
    (ROOT / "bad.png").write_bytes(b"<html>")
    names.append("bad.png")
    alone, _ = decode(names)
    content = alone.pixels.tobytes()
    shutil.rmtree(STATE)
    monkeypatch.setattr(decoders, "_FEW_IMAGES", 10)
    if kind == "folder":
        together, _ = decode(names)
    else:
        archive = Path(shutil.make_archive("packed", kind, ROOT))
        together = DecodedImages(STATE, TO)
        with ArchiveStorage(archive) as storage:
            paths = pd.Series([f"./{name}" for name in names])
            together.add(storage, paths, digests(names), decode_locally, lambda *_: None)

    assert together.pixels.tobytes() == content
    assert together.problems == alone.problems != {}


@pytest.mark.slow
def test_a_process_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [put(value) for value in range(20)]
    monkeypatch.setattr(decoders, "_FEW_IMAGES", 10)
    monkeypatch.setattr(processes, "_begin", os.abort)

    with pytest.raises(DataError, match="a process that read images died"):
        add(names, lambda *_: None)


_DECODE_FOR_EVER = """
import hashlib
import time
from pathlib import Path
import numpy as np
from reconv.data.decoders import Chunk, decode_locally
from reconv.data.decoders import decode_locally
from reconv.data.decoding import Conversion
from reconv.data.storage import FolderStorage

if __name__ == "__main__":
    sums = np.array([hashlib.sha256(Path("images/001.png").read_bytes()).digest()], "S32")
    chunks = (Chunk(row, ["001.png"], sums) for row in range(1000))
    outcomes = decode_locally(FolderStorage(Path("images")), Conversion(8, 1, "crop"), chunks, 1000, Path("pixels"))
    print(len(next(outcomes).records), flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_processes_end_with_a_parent_that_is_killed() -> None:
    put(1)
    Path("script.py").write_text(_DECODE_FOR_EVER)
    Path("pixels").touch()
    parent = subprocess.Popen([sys.executable, "script.py"], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "1\n"
    children = psutil.Process(parent.pid).children(recursive=True)

    parent.kill()
    parent.communicate()

    assert len(children) >= 2
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
