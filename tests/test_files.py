import resource
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from untrusted_names import NASTY

from reconv.artifacts import Budget
from reconv.errors import DataError
from reconv.files import (
    atomic,
    clear_dir,
    digest_of,
    read_arrays,
    read_csv,
    read_json,
    slug,
    write_at,
    write_csv,
    write_json,
    write_parquet,
)
from reconv.yaml_files import read_yaml


def test_atomic_makes_folder_and_file() -> None:
    with atomic(Path("a/b/file.txt")) as temporary:
        temporary.write_text("new")

    assert Path("a/b/file.txt").read_text() == "new"
    assert [path.name for path in Path("a/b").iterdir()] == ["file.txt"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_failure_leaves_the_old_file_and_nothing_else(failure: type[BaseException]) -> None:
    path = Path("file.txt")
    path.write_text("old")

    with pytest.raises(failure), atomic(path) as temporary:
        temporary.write_text("half of the n")
        raise failure

    assert path.read_text() == "old"
    assert list(Path().iterdir()) == [path]


def test_the_file_is_not_there_before_the_block_ends() -> None:
    with atomic(Path("file.txt")) as temporary:
        temporary.write_text("new")
        assert not Path("file.txt").exists()


def test_what_a_disk_takes_only_in_part_is_an_error(request: pytest.FixtureRequest) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    request.addfinalizer(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits))
    Path("file").touch()
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))

    write_at(Path("file"), 1_000, np.arange(100, dtype=np.uint8))
    with pytest.raises(OSError, match="File too large"):
        write_at(Path("file"), 5_000, np.zeros(10_000, np.uint8))

    assert Path("file").read_bytes()[1_000:1_100] == bytes(range(100))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_what_other_readers_do_not_take(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(Path("file.json"), {"accuracy": value})

    assert list(Path().iterdir()) == []


def test_tables_come_back_as_they_were() -> None:
    table = pd.DataFrame({"trial": [1, 2], "accuracy": [0.25, 0.5]})
    write_csv(Path("t.csv"), table)
    write_parquet(Path("t.parquet"), table)

    pd.testing.assert_frame_equal(pd.read_csv("t.csv"), table)
    pd.testing.assert_frame_equal(pd.read_parquet("t.parquet"), table)


def test_a_spreadsheet_runs_nothing_of_a_csv_file_and_its_texts_come_back() -> None:
    names = [NASTY, "-1", "NA", "'=x", "\r\n", "plain"]
    table = pd.DataFrame({"label": names, "number": [-1.5, 2, 3, 4, 5, 6]})
    write_csv(Path("t.csv"), table)

    as_opened = pd.read_csv("t.csv", dtype=str, keep_default_na=False)
    assert as_opened["label"].tolist() == [f"'{NASTY}", "-1", "NA", "''=x", "'\r\n", "plain"]
    assert as_opened["number"].tolist()[0] == "-1.5"
    pd.testing.assert_frame_equal(read_csv(Path("t.csv"), texts=("label",)), table)


@pytest.mark.parametrize("read", [read_json, read_yaml, Budget.load])
def test_missing_file_says_what_makes_it(read) -> None:
    with pytest.raises(DataError, match="results/x is missing: run `dvc repro`"):
        read(Path("results/x"))


def test_damaged_yaml_says_what_to_delete() -> None:
    Path("best.yaml").write_text("values: [unclosed")

    with pytest.raises(DataError, match=r"best\.yaml cannot be read"):
        read_yaml(Path("best.yaml"))


def test_clear_dir_empties() -> None:
    (clear_dir(Path("out")) / "old").write_text("")

    assert list(clear_dir(Path("out")).iterdir()) == []


def test_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert digest_of({"a": 1, "b": [2]}) != digest_of({"a": 1, "b": [3]})


@pytest.mark.parametrize(
    ("text", "name"), [("fashion-mnist", "fashion-mnist"), ("folder:/a b/ü", "folder-a-b"), ("//", "images")]
)
def test_slug_is_a_name_for_files(text: str, name: str) -> None:
    assert slug(text) == name


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", b"no archive", b"PK\x05\x06" + bytes(17)],
)
def test_a_damaged_npz_is_told(tmp_path, content) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        read_arrays(tmp_path / "a.npz")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(80 * 2**20, np.uint8))
    with pytest.raises(DataError, match="it unpacks to"):
        read_arrays(tmp_path / "bomb.npz")


def test_an_array_that_promises_more_than_it_holds_is_refused(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, archive.open("a.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with pytest.raises(DataError, match="does not hold an array"):
        read_arrays(tmp_path / "a.npz")
