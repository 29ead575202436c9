"""Tables as other programs and people write them: listed by `fetch`, or refused with what would help."""

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from preparing import fetch_and_prepare

from reconv.data.listing import Listing
from reconv.data.sources import fetch
from reconv.data.table_listing import list_table, wanted
from reconv.data.tables import read_table
from reconv.errors import DataError
from reconv.inspection import inspect
from reconv.params import PLAIN_COLUMNS, ColumnsParams, DataParams


def listed(
    text: str, columns: ColumnsParams = PLAIN_COLUMNS, group: str | None = None, root: str | None = None
) -> Listing:
    return list_table(read_table(text.encode(), wanted(columns, group), "t.csv"), "t.csv", columns, group, root)


def test_a_table_names_images_and_classes() -> None:
    found = listed("file,class,split\nb.png,dog,val\na.png,cat,train\n")

    assert found.class_names == ("cat", "dog")
    assert found.paths == ("a.png", "b.png")
    assert found.labels.tolist() == [0, 1]
    assert found.splits == ("train", "validation")


def test_images_of_a_table_may_have_groups() -> None:
    found = listed("path,label,Patient\n1.png,7,3\n2.png,10,3\n", group="patient")

    assert found.groups == ("3", "3")
    assert found.class_names == ("10", "7")


def test_a_group_that_is_no_column_is_refused() -> None:
    with pytest.raises(DataError, match="must have one column named patient"):
        listed("path,label\n1.png,a\n2.png,b\n", group="patient")


def test_columns_may_have_any_name() -> None:
    columns = ColumnsParams(path="id_code", label="diagnosis", split="fold")

    found = listed("ID_code , Diagnosis,fold\n1.png,4,test\n2.png,0,train\n", columns)

    assert (found.paths, found.class_names, found.splits) == (("1.png", "2.png"), ("0", "4"), ("test", "train"))


def test_a_path_may_be_made_of_columns() -> None:
    """Of ids without a suffix, images in a folder of their own, or a folder per row."""
    columns = ColumnsParams(path="images/{eye}/{id}.jpeg", label="level")

    found = listed("id,eye,level\n10,left,0\n10,right,1\n", columns)

    assert found.paths == ("images/left/10.jpeg", "images/right/10.jpeg")


def test_numbers_of_parquet_are_ids_too() -> None:
    pd.DataFrame({"id": [7, 8], "label": [0, 1]}).to_parquet("t.parquet")
    columns = ColumnsParams(path="{id}.png")

    table = read_table(Path("t.parquet").read_bytes(), wanted(columns), "t")

    assert list_table(table, "t", columns).paths == ("7.png", "8.png")


def test_backslashes_separate_folders_and_absolute_paths_within_the_root_are_relative() -> None:
    found = listed("path,label\ntrain\\a.png,x\n/data/b.png,y\ncaf\\xe9.png,y\n", root="/data")

    assert found.paths == ("b.png", "caf\\xe9.png", "train/a.png")  # which is how a name that is not UTF-8 is written


@pytest.mark.parametrize("path", ["/data/../b.png", "/other/b.png", "..\\b.png", "/database/b.png"])
def test_a_path_that_leads_out_of_the_root_is_refused(path: str) -> None:
    with pytest.raises(DataError, match="relative to the table's folder"):
        listed(f"path,label\na.png,x\n{path},y\n", root="/data")


def test_blanks_around_labels_are_not_part_of_them_and_told() -> None:
    found = listed('path,label\na.png,cat\nb.png,"cat "\nc.png,dog\n')

    assert found.class_names == ("cat", "dog")
    assert found.remarks == ("t.csv has blanks around values of label, such as 'cat ': they are not part of a name",)


def test_all_missing_columns_are_named_with_the_header_and_the_first_row() -> None:
    with pytest.raises(DataError) as refusal:
        listed("id_code,diagnosis\n000c1434d8d7,2\n")

    said = str(refusal.value)
    assert "must have one column named path or image or file or filename and one named label or class" in said
    assert "its header: id_code, diagnosis\nits first row: 000c1434d8d7, 2" in said


@pytest.mark.parametrize(("ids", "above"), [("10_left", "train"), ("train/10_left.jpeg", "images")])
def test_the_nearest_file_and_the_pattern_that_finds_it_are_named(ids: str, above: str, data: DataParams) -> None:
    text = f"image,level\n{ids},0\n{ids.replace('left', 'right')},1\n"
    Path("eyes").mkdir()
    Path("eyes/labels.csv").write_text(text)
    for name in ("10_left", "10_right"):
        path = Path(f"eyes/{above}/train/{name}.jpeg" if "/" in ids else f"eyes/{above}/{name}.jpeg")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(path)
    asked = data.model_copy(update={"source": "table:eyes/labels.csv", "columns": ColumnsParams(label="level")})

    with pytest.raises(DataError) as refusal:
        fetch(asked.source, None, Path("raw"), lambda _: None, columns=asked.columns)

    lines = str(refusal.value).splitlines()
    assert lines[0] == "eyes/labels.csv names 2 images, none of which exists."
    assert lines[1:3] == ["its header: image, level", f"its first row: {ids}, 0"]
    assert lines[3] == f"looked for: {ids}"
    pattern = lines[5].partition('path: "')[2].partition('"')[0]
    asked = asked.model_copy(update={"columns": ColumnsParams(path=pattern, label="level")})
    fetch(asked.source, None, Path("raw"), lambda _: None, columns=asked.columns)
    assert pd.read_parquet("raw/images.parquet")["problem"].tolist() == ["", ""]


def test_what_was_read_leniently_is_said_by_fetch_and_found_by_inspect(images: Path, data: DataParams) -> None:
    rows = "".join(f"{path.relative_to(images)}, {path.parent.name}\n" for path in sorted(images.glob("*/*.png")))
    (images / "list.csv").write_text(f"Path, Label\n{rows}")
    said: list[str] = []

    fetch(f"table:{images}/list.csv", None, Path("raw"), said.append)

    assert any("has blanks after its separators" in text for text in said)
    found = inspect(f"{images}/list.csv", data, lambda *_: None).findings
    assert [one.text for one in found if one.kind == "read leniently"] == said[1:]
    manifest, _ = fetch_and_prepare(data.model_copy(update={"source": f"table:{images}/list.csv"}))
    assert manifest.class_names == ("left", "middle", "right")
