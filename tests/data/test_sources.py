from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from reconv.artifacts import RawSource
from reconv.data.files import FilesSource
from reconv.data.sources import SOURCES, fetch, source_of, verify_raw
from reconv.data.spec import PUBLISHED
from reconv.errors import DataError, ParamsError
from reconv.places import STATE

RAW = Path("data/raw")


class CountingSource:
    """A published set of two images that counts how often it is asked for."""

    def __init__(self) -> None:
        self.num_fetches = 0

    def fetch(self, raw: Path, say: Callable[[str], None]) -> tuple[tuple[str, ...], dict[str, NDArray[np.generic]]]:
        self.num_fetches += 1
        return ("a", "b"), {
            f"{split}-{kind}.npy": np.full(shape, index, dtype)
            for index, split in enumerate(("train", "test"))
            for kind, shape, dtype in (("images", (2, 8, 8, 1), np.uint8), ("labels", (2,), np.int64))
        }


class FailingSource:
    def fetch(self, raw: Path, say: Callable[[str], None]) -> tuple[tuple[str, ...], dict[str, NDArray[np.generic]]]:
        raise DataError("no network")


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> CountingSource:
    source = CountingSource()
    monkeypatch.setitem(SOURCES, "published", source)
    monkeypatch.setitem(SOURCES, "failing", FailingSource())
    return source


def say_nothing(_: str) -> None:
    pass


@pytest.mark.parametrize("spec", ["fashion", "Fashion-MNIST", "", "folders:x"])
def test_unknown_source_lists_the_known_ones(spec: str) -> None:
    with pytest.raises(
        ParamsError, match=r"must be one of fashion-mnist, .*svhn, folder:PATH, table:PATH, archive:PATH"
    ):
        source_of(spec, None)


@pytest.mark.parametrize(
    ("spec", "remedy"),
    [
        ("/data/photos", "folder:/data/photos"),
        ("here", "folder:here"),
        ("photos/all.csv", "table:photos/all.csv"),
        ("~/photos.zip", "archive:~/photos.zip"),
        ("s3://bucket/photos.tar.gz", "Change it"),
    ],
)
def test_a_path_without_its_kind_is_answered_with_what_to_write(spec: str, remedy: str) -> None:
    Path("here").mkdir()

    with pytest.raises(ParamsError, match=f"{remedy}.* in params.yaml"):
        source_of(spec, None)


def test_what_is_checked_before_a_run_are_the_names_that_fetch_knows() -> None:
    assert tuple(SOURCES) == PUBLISHED


def test_folder_may_be_in_the_home_folder() -> None:
    assert source_of("folder:~/images", None) == FilesSource("folder", str(Path.home() / "images"), None, STATE)


def test_what_was_fetched_matches_its_index(published: CountingSource) -> None:
    fetched = fetch("published", None, RAW, say_nothing)

    assert RawSource.load(RAW / "source.json") == fetched
    assert fetched.class_names == ("a", "b")
    verify_raw(fetched, RAW)


def test_intact_files_are_not_fetched_again(published: CountingSource) -> None:
    first = fetch("published", None, RAW, say_nothing)
    said: list[str] = []

    assert fetch("published", None, RAW, said.append) == first
    assert published.num_fetches == 1
    assert said == [f"published: already in {RAW}, checksums match"]


def test_altered_file_is_refused_with_a_remedy(published: CountingSource) -> None:
    fetch("published", None, RAW, say_nothing)
    np.save(RAW / "train-labels.npy", np.array([7, 7]))

    with pytest.raises(DataError, match=r"(?s)train-labels\.npy is not the file that was fetched.*Delete data/raw"):
        fetch("published", None, RAW, say_nothing)


def test_missing_file_is_refused(published: CountingSource) -> None:
    fetched = fetch("published", None, RAW, say_nothing)
    (RAW / "test-images.npy").unlink()

    with pytest.raises(DataError, match=r"test-images\.npy .*no file"):
        verify_raw(fetched, RAW)


def test_another_source_replaces_the_files(published: CountingSource, write_image_folder: Callable[..., Path]) -> None:
    fetch("published", None, RAW, say_nothing)
    (RAW / ".gitignore").write_text("/raw")

    fetched = fetch(f"folder:{write_image_folder(Path('images'), 2)}", None, RAW, say_nothing)

    assert {path.name for path in RAW.iterdir()} == {*fetched.files, "source.json", ".gitignore"}
    assert set(fetched.files) == {"images.parquet"}


def test_failing_fetch_leaves_nothing_that_looks_complete(published: CountingSource) -> None:
    fetch("published", None, RAW, say_nothing)

    with pytest.raises(DataError, match="no network"):
        fetch("failing", None, RAW, say_nothing)

    assert not (RAW / "source.json").exists()


def test_a_folder_is_listed_anew_each_time(write_image_folder: Callable[..., Path]) -> None:
    root = write_image_folder(Path("images"), 2)
    before = fetch("folder:images", None, RAW, say_nothing)
    (root / "left" / "000.png").rename(root / "right" / "moved.png")

    assert fetch("folder:images", None, RAW, say_nothing).digest != before.digest


def test_same_images_have_the_same_digest(write_image_folder: Callable[..., Path]) -> None:
    for name in ("one", "two"):
        write_image_folder(Path(name), 2)

    assert fetch("folder:one", None, RAW, say_nothing).digest == fetch("folder:two", None, RAW, say_nothing).digest
