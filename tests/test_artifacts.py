import json
from pathlib import Path

import numpy as np
import pytest

from reconv.artifacts import Budget, Manifest
from reconv.errors import DataError
from reconv.files import (
    read_json,
    write_json,
)

BUDGET = Budget(
    searcher="random",
    budget_epochs=10,
    max_epochs=3,
    seed=0,
    data_digest="0" * 64,
    spent_epochs=9,
    device_seconds=1.5,
    energy=None,
    num_trials=3,
)


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


def test_other_format_version_is_refused(manifest: Manifest) -> None:
    write_json(Path("manifest.json"), manifest.model_dump(mode="json") | {"format_version": 2})

    with pytest.raises(DataError, match="not of the format that this version writes"):
        Manifest.load(Path("manifest.json"))


def test_digest_of_a_manifest_tells_splits_apart(manifest: Manifest) -> None:
    other = manifest.model_copy(update={"counts": {"train": 29, "validation": 10, "test": 9}})

    assert manifest.digest != other.digest


def test_numpy_numbers_are_read_as_plain_ones(manifest: Manifest) -> None:
    copied = Manifest.model_validate(manifest.model_dump() | {"mean": (np.float64(1.5),)})

    copied.save(Path("manifest.json"))

    assert read_json(Path("manifest.json"))["mean"] == [1.5]
