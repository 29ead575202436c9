import io
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from reconv.data import inspecting
from reconv.data.archives import ArchiveStorage
from reconv.data.inspecting import inspect
from reconv.data.storage import FolderStorage

ROOT, MEMORY = Path("images"), Path("inspected")


class Counting(FolderStorage):
    """Remembers what was read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.was_read: list[str] = []

    def read(self, name: str) -> bytes:
        self.was_read.append(name)
        return super().read(name)


def put(name: str, content: bytes | None = None, age_seconds: float = 60) -> str:
    """A file that was written a while ago."""
    path = ROOT / name
    path.parent.mkdir(exist_ok=True)
    if content is None:
        Image.new("L", (9, 12), 7).save(path)
    else:
        path.write_bytes(content)
    then = path.stat().st_mtime - age_seconds
    os.utime(path, (then, then))
    return name


def jpeg(width: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, 3)).save(buffer, "JPEG")
    return buffer.getvalue()


def look(paths: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """What is known of the files, and which of them were read for it."""
    storage = Counting(ROOT)
    return inspect(storage, paths, MEMORY, "images"), storage.was_read


def test_what_is_wrong_with_a_file_is_said_and_the_others_go_on() -> None:
    names = [put("good.png"), put("empty.png", b""), put("html.png", b"<html>"), put("wrong-name.png", jpeg(5))]

    table, _ = look([*names, "gone.png"])

    good, empty, html, wrong, gone = table.to_dict("records")
    assert (good["problem"], wrong["problem"]) == ("", "")
    assert (good["height"], good["width"], good["grey"], len(good["sha256"])) == (12, 9, True, 64)
    assert (wrong["height"], wrong["width"], wrong["grey"]) == (3, 5, False)
    assert empty["problem"].startswith("has 0 bytes")
    assert html["problem"] == "cannot be decoded (no format that is read)"
    assert gone["problem"] == "cannot be read (No such file or directory)"


def test_a_file_that_did_not_change_is_read_once() -> None:
    names = [put(f"{number}.jpg", jpeg(number)) for number in range(1, 6)]

    first, _ = look(names)
    again, was_read = look(names)

    assert was_read == []
    pd.testing.assert_frame_equal(again, first)


def test_new_files_cost_their_own_time_alone() -> None:
    names = [put(f"{number}.jpg", jpeg(number)) for number in range(1, 6)]
    look(names)

    table, was_read = look([put("0.jpg", jpeg(9)), *names])

    assert was_read == ["0.jpg"]
    assert table["width"].tolist() == [9, 1, 2, 3, 4, 5]
    assert look(["0.jpg", *names])[1] == []


def test_a_file_that_changed_is_read_again() -> None:
    names = [put("1.jpg", jpeg(1)), put("2.jpg", jpeg(2))]
    look(names)
    put("2.jpg", jpeg(8), age_seconds=30)

    table, was_read = look(names)

    assert was_read == ["2.jpg"]
    assert table["width"].tolist() == [1, 8]


def test_a_file_of_this_moment_is_read_again() -> None:
    names = [put("1.jpg", jpeg(1), age_seconds=0)]
    look(names)

    assert look(names)[1] == names


def test_bad_files_are_looked_at_again() -> None:
    names = [put("1.jpg", b"<html>"), put("2.jpg", jpeg(2))]
    look(names)

    table, was_read = look(names)

    assert was_read == ["1.jpg"]
    assert (table["problem"] != "").tolist() == [True, False]


def test_another_place_has_a_memory_of_its_own() -> None:
    names = [put("1.jpg", jpeg(1))]
    look(names)
    storage = Counting(ROOT)

    inspect(storage, names, MEMORY, "elsewhere")

    assert storage.was_read == names


def test_a_link_is_known_by_what_it_leads_to() -> None:
    put("1.jpg", jpeg(1))
    (ROOT / "link.jpg").symlink_to("1.jpg")
    look(["link.jpg"])
    put("1.jpg", jpeg(8), age_seconds=30)

    assert look(["link.jpg"])[0]["width"].tolist() == [8]


@pytest.mark.slow
def test_processes_find_what_one_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [put(f"{number}.jpg", jpeg(number)) for number in range(1, 60)]
    names.insert(7, put("bad.jpg", b"<html>"))
    alone, _ = look(names)
    monkeypatch.setattr(inspecting, "_CHUNK", 7)
    monkeypatch.setattr(inspecting, "_FEW_FILES", 10)

    together = inspect(FolderStorage(ROOT), names, Path("other"), "images")

    pd.testing.assert_frame_equal(together, alone)


def test_an_archive_that_did_not_change_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:

    put("1.jpg", jpeg(4))
    path = Path(shutil.make_archive("packed", "zip", ROOT))
    os.utime(path, (1e9, 1e9))
    with ArchiveStorage(path) as archive:
        first = inspect(archive, ["1.jpg"], MEMORY, str(path))
        monkeypatch.setattr(archive, "read", None)
        again = inspect(archive, ["1.jpg"], MEMORY, str(path))

    pd.testing.assert_frame_equal(again, first)
