"""What a running stage keeps behaves alike in a folder behind a URL and in a bucket."""

from pathlib import Path
from typing import Any

import pytest

from reconv.errors import DataError, ParamsError
from reconv.files import clear_dir, local_copy, opened_store, read_json, write_bytes, write_json
from reconv.resuming import resumable_dir


@pytest.fixture(params=["folder", "s3://parts/some/project"])
def url(request: pytest.FixtureRequest) -> str:
    if "://" in request.param:
        request.getfixturevalue("bucket")
    return str(request.param)


def test_what_is_written_is_read_again(url: str) -> None:
    path = opened_store(url) / "state" / "seed-0.json"
    assert not path.exists()

    write_json(path, {"epoch": 1})
    write_json(path, {"epoch": 2})

    assert path.exists()
    assert read_json(path) == {"epoch": 2}
    assert [one.name for one in path.parent.iterdir()] == ["seed-0.json"]  # no temporary names


def test_what_another_process_wrote_is_seen_at_once(url: str) -> None:
    here, there = (opened_store(url) / "state" / "mark" for _ in range(2))
    assert not here.exists()
    assert not list((opened_store(url) / "state").glob("*"))

    write_bytes(there, b"x")
    assert here.exists()
    write_bytes(there, b"y")

    assert here.read_bytes() == b"y"


def test_a_copy_is_there_for_as_long_as_it_is_needed(url: str) -> None:
    path = opened_store(url) / "last.ckpt"
    write_bytes(path, b"weights")

    with local_copy(path) as copy:
        assert isinstance(copy, Path)
        assert copy.read_bytes() == b"weights"

    assert not copy.exists()


def test_a_file_that_is_missing_says_what_makes_it(url: str) -> None:
    with pytest.raises(DataError, match=r"none\.json is missing: run `dvc repro`"):
        read_json(opened_store(url) / "none.json")


def test_a_stage_that_ends_leaves_nothing_of_its_own(url: str) -> None:
    first, second = (resumable_dir("train-cnn", fingerprint, url) for fingerprint in ("one", "other"))
    write_json(first / "seed-0.json", {})
    write_json(second / "deep" / "seed-0.json", {})

    clear_dir(second)
    clear_dir(second)

    assert read_json(first / "seed-0.json") == {}
    assert not (second / "deep" / "seed-0.json").exists()


@pytest.mark.parametrize("url", ["nothing://here", "gs://bucket"])
def test_a_store_that_cannot_be_opened_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "gcsfs", None)  # as where its package is missing
    with pytest.raises(ParamsError, match=rf"resources\.storage is {url}"):
        opened_store(url)


def test_the_place_is_another_one_for_other_values(bucket: Any) -> None:
    places = {str(resumable_dir("train-cnn", fingerprint, "s3://parts")) for fingerprint in ("one", "other", "one")}

    assert len(places) == 2
