"""The same images as a folder, a table and archives: fetched and prepared alike."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from preparing import DECODED, PREPARED, RAW, fetch_and_prepare

from reconv.artifacts import RawSource
from reconv.data.arrays import PreparedData
from reconv.data.packing import prepare
from reconv.data.sources import fetch
from reconv.errors import DataError
from reconv.params import DataParams


def arrays() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in PREPARED.glob("*.npy")}


def rows_of(images: Path) -> pd.DataFrame:
    paths = sorted(images.glob("*/*.png"))
    return pd.DataFrame({"path": [str(path) for path in paths], "label": [path.parent.name for path in paths]})


def as_csv(images: Path) -> str:
    rows_of(images).to_csv("list.csv", index=False)
    return "table:list.csv"


def as_parquet(images: Path) -> str:
    rows_of(images).sample(frac=1, random_state=0).to_parquet("list.parquet")
    return "table:list.parquet"


def archived(kind: str) -> Callable[[Path], str]:
    def make(images: Path) -> str:
        return f"archive:{shutil.make_archive('packed', kind, '.', images)}"

    return make


def as_zip_with_table(images: Path) -> str:
    with zipfile.ZipFile("packed.zip", "w") as archive:
        for path in images.glob("*/*.png"):
            archive.write(path, f"all/{path}")
        archive.writestr("all/labels.csv", rows_of(images).to_csv(index=False))
    return "archive:packed.zip"


@pytest.mark.parametrize(
    "make",
    [as_csv, as_parquet, archived("zip"), archived("tar"), archived("gztar"), as_zip_with_table],
    ids=["csv", "parquet", "zip", "tar", "tar.gz", "table in zip"],
)
def test_the_same_images_make_the_same_arrays_wherever_they_lie(
    images: Path, data: DataParams, make: Callable[[Path], str]
) -> None:
    fetch_and_prepare(data)
    from_folder = arrays()

    manifest, _ = fetch_and_prepare(data.model_copy(update={"source": make(images)}))

    assert manifest.class_names == ("left", "middle", "right")
    assert arrays() == from_folder


def test_a_bad_file_is_left_out_and_named(images: Path, data: DataParams) -> None:
    (images / "left" / "000.png").write_bytes(b"<html>")
    cut = sorted((images / "right").iterdir())[3]
    Image.effect_noise((64, 64), 50).save(cut)
    cut.write_bytes(cut.read_bytes()[:-500])

    manifest, report = fetch_and_prepare(data)

    assert sum(manifest.counts.values()) == 58
    (finding,) = (one for one in report.findings if one.kind == "unusable")
    assert finding.files[0] == "left/000.png cannot be decoded (no format that is read)"
    assert finding.files[1].startswith(f"right/{cut.name} cannot be decoded (")


def test_other_files_are_told_and_kept_and_are_neither_bad_images_nor_new_ones(images: Path, data: DataParams) -> None:
    before = fetch(data.source, None, RAW, lambda _: None)
    for name in ("left/labels.json", "left/labels.txt", "README.md", ".DS_Store"):
        (images / name).write_text("words")
    said: list[str] = []

    after = fetch(data.source, None, RAW, said.append)
    _, report = fetch_and_prepare(data.model_copy(update={"on_bad_image": "fail"}))

    assert (
        "4 files were skipped: 1 outside the class folders (README.md); 2 not an image (.json, .txt); 1 hid" in said[1]
    )
    assert [(group.reason, group.count) for group in RawSource.load(RAW / "source.json").skipped] == [
        ("outside the class folders", 1),
        ("not an image", 2),
        ("hidden", 1),
    ]
    assert after.digest == before.digest
    assert [one.count for one in report.findings if one.kind == "skipped files"] == [4]


def test_one_coloured_image_makes_all_of_them_coloured(images: Path, data: DataParams) -> None:
    Image.new("RGB", (9, 9), (255, 0, 0)).save(images / "left" / "000.png")

    manifest, _ = fetch_and_prepare(data)

    assert manifest.image_shape == (8, 8, 3)


def test_a_bad_file_does_not_decide_on_colours(images: Path, data: DataParams) -> None:
    (images / "left" / "000.png").write_bytes(b"")

    assert fetch_and_prepare(data)[0].image_shape == (8, 8, 1)


def split_rows(images: Path) -> pd.DataFrame:
    """The last five images of each class are for the test."""
    rows = rows_of(images)
    rows["split"] = np.where(rows.groupby("label").cumcount() >= 15, "test", "train")
    return rows


def test_splits_that_are_given_are_kept_and_the_missing_one_is_chosen(images: Path, data: DataParams) -> None:
    rows = split_rows(images)
    rows.to_csv("list.csv", index=False)

    manifest, _ = fetch_and_prepare(data.model_copy(update={"source": "table:list.csv"}))

    assert manifest.counts == {"train": 33, "validation": 12, "test": 15}
    of_test = {np.asarray(Image.open(path)).tobytes() for path in rows.loc[rows["split"] == "test", "path"]}
    assert {image.tobytes() for image in PreparedData(PREPARED).test.images[:]} == of_test


def test_images_of_one_group_stay_in_one_split(images: Path, data: DataParams) -> None:
    rows = rows_of(images)
    rows["patient"] = rows["label"] + (rows.groupby("label").cumcount() // 4).astype(str)
    rows.to_csv("list.csv", index=False)

    manifest, report = fetch_and_prepare(data.model_copy(update={"source": "table:list.csv", "group": "patient"}))

    assert all(count % 4 == 0 for count in manifest.counts.values())
    assert {one.kind for one in report.findings} == {"few images"}


def test_leakage_of_given_splits_stops_before_anything_is_written(images: Path, data: DataParams) -> None:
    rows = split_rows(images)
    first, *_, last = sorted((images / "left").iterdir())
    shutil.copy(first, last)
    rows.to_csv("list.csv", index=False)

    with pytest.raises(DataError, match=r"2 images have the same pixels .*data\.allow_leakage: true"):
        fetch_and_prepare(data.model_copy(update={"source": "table:list.csv"}))

    assert not PREPARED.exists()


def test_a_group_without_a_table_is_refused(images: Path, data: DataParams) -> None:
    with pytest.raises(DataError, match=r"data\.group is 'patient', but images is no table"):
        fetch_and_prepare(data.model_copy(update={"group": "patient"}))


def test_a_table_that_is_not_there_or_none_is_refused(data: DataParams) -> None:
    with pytest.raises(DataError, match=r"list\.csv, which cannot be read \(No such file"):
        fetch_and_prepare(data.model_copy(update={"source": "table:list.csv"}))
    Path("list.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"list\.parquet cannot be read as a table"):
        fetch_and_prepare(data.model_copy(update={"source": "table:list.parquet"}))


def test_adding_images_decodes_only_those(images: Path, data: DataParams, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_and_prepare(data)
    Image.new("L", (9, 9), 77).save(images / "left" / "new.png")
    fetch(data.source, data.group, RAW, lambda _: None)
    said: list[tuple[int, int]] = []

    prepare(data, RAW, PREPARED, DECODED, lambda *at: said.append(at))

    assert said == [(1, 1)]


def test_what_was_decoded_may_be_deleted(images: Path, data: DataParams) -> None:
    fetch_and_prepare(data)
    first = arrays()
    shutil.rmtree(DECODED)
    fetch_and_prepare(data)

    assert arrays() == first


def test_the_name_of_every_packed_image_is_known(images: Path, data: DataParams) -> None:
    fetch_and_prepare(data)

    prepared = PreparedData(PREPARED)
    for name in ("train", "validation", "test"):
        split = getattr(prepared, name)
        files = prepared.names(name, np.arange(len(split)))
        packed = [np.asarray(Image.open(images / file))[..., None] for file in files]
        np.testing.assert_array_equal(split.images, np.stack(packed))
