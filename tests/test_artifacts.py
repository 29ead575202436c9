import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reconv.artifacts import Budget, Manifest, dvc_hashes, resumable_dir
from reconv.errors import DataError
from reconv.files import (
    atomic,
    clear_dir,
    digest_of,
    read_json,
    read_yaml,
    slug,
    write_csv,
    write_json,
    write_parquet,
    write_yaml,
)

BUDGET = Budget(
    searcher="random",
    budget_epochs=10,
    max_epochs=3,
    seed=0,
    data_digest="0" * 64,
    spent_epochs=9,
    device_seconds=1.5,
    num_trials=3,
)


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


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_what_other_readers_do_not_take(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(Path("file.json"), {"accuracy": value})

    assert list(Path().iterdir()) == []


def test_tables_and_yaml_come_back_as_they_were() -> None:
    table = pd.DataFrame({"trial": [1, 2], "accuracy": [0.25, 0.5]})
    write_csv(Path("t.csv"), table)
    write_parquet(Path("t.parquet"), table)
    write_yaml(Path("best.yaml"), {"values": {"lr": 1e-3, "widths": [4, 8]}})

    pd.testing.assert_frame_equal(pd.read_csv("t.csv"), table)
    pd.testing.assert_frame_equal(pd.read_parquet("t.parquet"), table)
    assert read_yaml(Path("best.yaml")) == {"values": {"lr": 1e-3, "widths": [4, 8]}}


def test_artifact_comes_back_equal(manifest: Manifest) -> None:
    manifest.save(Path("manifest.json"))

    assert Manifest.load(Path("manifest.json")) == manifest


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        json.dumps(BUDGET.model_dump() | {"extra": 1}).encode(),
        json.dumps({"budget_epochs": 10}).encode(),
        json.dumps(BUDGET.model_dump() | {"spent_epochs": "many"}).encode(),
    ],
)
def test_damaged_artifact_says_what_to_delete(content: bytes) -> None:
    Path("budget.json").write_bytes(content)

    with pytest.raises(DataError, match=r"budget\.json .*delete it and run `dvc repro`"):
        Budget.load(Path("budget.json"))


@pytest.mark.parametrize("read", [read_json, read_yaml, Budget.load])
def test_missing_file_says_what_makes_it(read) -> None:
    with pytest.raises(DataError, match="results/x is missing: run `dvc repro`"):
        read(Path("results/x"))


def test_other_format_version_is_refused(manifest: Manifest) -> None:
    write_json(Path("manifest.json"), manifest.model_dump(mode="json") | {"format_version": 2})

    with pytest.raises(DataError, match="not of the format that this version writes"):
        Manifest.load(Path("manifest.json"))


def test_damaged_yaml_says_what_to_delete() -> None:
    Path("best.yaml").write_text("values: [unclosed")

    with pytest.raises(DataError, match=r"best\.yaml cannot be read"):
        read_yaml(Path("best.yaml"))


def test_resumable_dir_keeps_its_content_while_the_fingerprint_is_the_same() -> None:
    (resumable_dir("search-cnn", {"lr": 0.1}) / "checkpoint").write_text("epoch 3")

    assert (resumable_dir("search-cnn", {"lr": 0.1}) / "checkpoint").read_text() == "epoch 3"


def test_resumable_dir_is_emptied_for_another_fingerprint() -> None:
    (resumable_dir("search-cnn", {"lr": 0.1}) / "checkpoint").write_text("epoch 3")

    assert not (resumable_dir("search-cnn", {"lr": 0.2}) / "checkpoint").exists()


def test_resumable_dirs_of_two_stages_do_not_meet() -> None:
    (resumable_dir("search-cnn", 1) / "checkpoint").write_text("epoch 3")
    resumable_dir("search-feedforward", 2)

    assert (resumable_dir("search-cnn", 1) / "checkpoint").exists()


def test_clear_dir_empties() -> None:
    (clear_dir(Path("out")) / "old").write_text("")

    assert list(clear_dir(Path("out")).iterdir()) == []


def test_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert digest_of({"a": 1, "b": [2]}) != digest_of({"a": 1, "b": [3]})


def test_digest_of_a_manifest_tells_splits_apart(manifest: Manifest) -> None:
    other = manifest.model_copy(update={"counts": {"train": 29, "validation": 10, "test": 9}})

    assert manifest.digest != other.digest


def test_dvc_hashes_are_those_of_every_output() -> None:
    Path("dvc.lock").write_text(
        """
schema: '2.0'
stages:
  fetch:
    outs:
    - {path: data/raw, hash: md5, md5: abc.dir}
    - {path: not-cached}
  search@cnn:
    deps: [{path: data/raw, md5: other}]
    outs:
    - {path: results/search/cnn/best.yaml, md5: def}
  nothing: {cmd: true}
"""
    )

    assert dvc_hashes() == {"data/raw": "abc.dir", "results/search/cnn/best.yaml": "def"}


@pytest.mark.parametrize("text", [None, "", "schema: '2.0'\n"])
def test_dvc_hashes_are_empty_before_the_first_run(text: str | None) -> None:
    if text is not None:
        Path("dvc.lock").write_text(text)

    assert dvc_hashes() == {}


@pytest.mark.parametrize(
    ("text", "name"), [("fashion-mnist", "fashion-mnist"), ("folder:/a b/ü", "folder-a-b"), ("//", "images")]
)
def test_slug_is_a_name_for_files(text: str, name: str) -> None:
    assert slug(text) == name


def test_numpy_numbers_are_read_as_plain_ones(manifest: Manifest) -> None:
    copied = Manifest.model_validate(manifest.model_dump() | {"mean": (np.float64(1.5),)})

    copied.save(Path("manifest.json"))

    assert read_json(Path("manifest.json"))["mean"] == [1.5]
