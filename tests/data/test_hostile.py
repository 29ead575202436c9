"""The corpus of hostile and broken input, each beside good images through the real `fetch` and `prepare`. What becomes
of it stands in the tables of tests/hostile."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hostile.archives import ARCHIVES
from hostile.case import Case
from hostile.folders import ALIKE, FOLDERS, FORBIDDEN
from hostile.images import HUGE, IMAGES
from hostile.large_tables import LARGE_TABLES
from hostile.slow import SLOW
from hostile.tables import TABLES
from preparing import DECODED, PREPARED, RAW, fetch_and_prepare

from reconv.artifacts import DataReport, Manifest
from reconv.data import storage
from reconv.data.limited_decoding import LIMITS
from reconv.data.sources import fetch
from reconv.errors import DataError
from reconv.params import DataParams
from reconv.places import STATE

PER_CLASS = 4
NOBODY = 65534
# What Pillow, zipfile and others say of broken files; in a run it goes to the log.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Within one of the test's own, where whatever leads out of it arrives."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def data(params: Any, write_image_folder: Callable[..., Path]) -> DataParams:
    """Of folder:images, a few good ones, beside which as many bad ones may lie."""
    write_image_folder(Path("images"), PER_CLASS)
    return params.data.model_copy(update={"max_bad_share": 0.5})


def ids(cases: list[Case[Any]]) -> dict[str, Any]:
    return {"argvalues": cases, "ids": str}


@pytest.mark.parametrize("case", **ids([*IMAGES, *SLOW]))
def test_content(case: Case[Callable[[], bytes]], data: DataParams) -> None:
    Path("images/left/bad.png").write_bytes(case.make())

    check(case.wanted, data)


@pytest.mark.parametrize("case", **ids(FOLDERS))
def test_folder(case: Case[Callable[[Path], None]], data: DataParams) -> None:
    case.make(Path("images"))

    check(case.wanted, data)


@pytest.mark.parametrize("case", **ids(FORBIDDEN))
def test_permissions(case: Case[Callable[[Path], None]], data: DataParams) -> None:
    case.make(Path("images"))

    with as_nobody():
        check(case.wanted, data)


@pytest.mark.parametrize("case", **ids(ALIKE))
def test_classes_that_look_alike(case: Case[Callable[[Path], None]], data: DataParams) -> None:
    case.make(Path("images"))

    _, report = fetch_and_prepare(data)

    (finding,) = (one for one in report.findings if one.kind == "alike classes")
    assert case.wanted in finding.text


@pytest.mark.parametrize("case", **ids(ARCHIVES))
def test_archive(case: Case[Callable[[Path], None]], data: DataParams) -> None:
    case.make(Path("packed"))

    check(case.wanted, data.model_copy(update={"source": "archive:packed"}))


@pytest.mark.parametrize("case", **ids([*TABLES, *LARGE_TABLES]))
def test_table(case: Case[Callable[[str], bytes]], data: DataParams) -> None:
    paths = sorted(path.relative_to("images") for path in Path("images").rglob("*.png"))
    rows = pd.DataFrame({"path": [str(path) for path in paths], "label": [path.parts[0] for path in paths]})
    Path("images/list.csv").write_bytes(case.make(rows.to_csv(index=False)))

    check(case.wanted, data.model_copy(update={"source": "table:images/list.csv"}))


def check(wanted: str, data: DataParams) -> None:
    """That it comes as wanted, and that nothing is written but the output."""
    outcome, _, words = wanted.partition(": ")
    before = tree()
    if outcome == "stops":
        with pytest.raises(DataError) as refusal:
            fetch_and_prepare(data)
        assert words in str(refusal.value)
    else:
        manifest, report = fetch_and_prepare(data)
        check_report(outcome, words, manifest, report)
    assert tree() == before


def check_report(outcome: str, words: str, manifest: Manifest, report: DataReport) -> None:
    left_out = [file for finding in report.findings if finding.kind == "unusable" for file in finding.files]
    num_more = sum(manifest.counts.values()) - 3 * PER_CLASS
    if outcome == "unusable":
        assert num_more == 0
        assert len(left_out) == 1
        assert words in left_out[0]
    else:
        assert left_out == []
        kind = "skipped files" if outcome == "skipped" else "empty folders"
        assert words in str([finding.files for finding in report.findings if finding.kind == kind])
        assert num_more > 0 if outcome == "usable" else num_more == 0
    text = report.model_dump_json()
    assert text.encode("utf-8")  # no half of a character
    assert "\n" not in "".join(left_out)


def tree() -> dict[str, tuple[int, int, int]]:
    """Kind, size and time of every file here and in the folder above, but for those of the output."""
    found = {}
    for folder, _, names in os.walk(Path.cwd().parent):
        for path in (Path(folder, name) for name in names):
            if not any(path.is_relative_to(output.absolute()) for output in (RAW, PREPARED, DECODED, STATE)):
                status = path.lstat()
                found[str(path)] = status.st_mode, status.st_size, status.st_mtime_ns
    return found


@contextmanager
def as_nobody() -> Iterator[None]:
    """Since root may read everything: the current folder and what is in it belongs to somebody who may not."""
    if os.geteuid() != 0:
        yield
        return
    for path in (Path(".."), Path(), *Path().rglob("*")):
        os.lchown(path, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_grows_while_it_is_read_stops_it(data: DataParams, monkeypatch: pytest.MonkeyPatch) -> None:
    fstat, path = os.fstat, Path("images/left/000.png")

    def grow_after(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and os.path.samestat(status, path.stat()):
            with path.open("ab") as file:
                file.write(b"more")
        return status

    monkeypatch.setattr(storage.os, "fstat", grow_after)

    with pytest.raises(DataError, match=r"left/000\.png changed while it was read: wait until it is written"):
        fetch(data.source, None, RAW, lambda _: None)


_DECODE_ALL = """
import resource, sys, time, warnings
from pathlib import Path
from reconv.data.decoding import Conversion, decode, read_header
from reconv.errors import ImageError

def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

warnings.simplefilter("ignore")
at_start, slowest = peak_bytes(), 0.0
for path in sorted(Path("corpus").iterdir()):
    content = path.read_bytes()
    start = time.process_time()
    for step in (read_header, lambda content: decode(content, Conversion(64, 3, "crop"))):
        try:
            step(content)
        except ImageError:
            pass
    slowest = max(slowest, time.process_time() - start)
print(peak_bytes() - at_start, slowest)
"""


def test_memory_and_time_stay_bounded_over_all_contents() -> None:
    """In one process. What is largest: a WebP of 100 million pixels, 15 bytes each."""
    Path("corpus").mkdir()
    for index, case in enumerate([*IMAGES, *SLOW, *HUGE]):
        Path(f"corpus/{index:03d}").write_bytes(case.make())

    done = subprocess.run([sys.executable, "-c", _DECODE_ALL], capture_output=True, text=True, check=True, timeout=120)

    num_bytes, slowest_seconds = map(float, done.stdout.split())
    assert num_bytes < LIMITS.memory_bytes
    assert slowest_seconds < 10
