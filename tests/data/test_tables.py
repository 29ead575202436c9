import io

import pandas as pd
import pytest

from reconv.data import tables
from reconv.data.processes import Limited, Limits
from reconv.data.tables import read_table
from reconv.errors import DataError

COLUMNS = ("path", "label")


def parquet(rows: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    rows.to_parquet(buffer)
    return buffer.getvalue()


def csv(rows: pd.DataFrame) -> bytes:
    return rows.to_csv(index=False).encode()


def read_rows(text: str) -> pd.DataFrame:
    return read_table(text.encode(), COLUMNS, "t").rows


@pytest.mark.parametrize("write", [parquet, csv])
def test_only_the_columns_that_are_wanted_are_read(write) -> None:  # type: ignore[no-untyped-def]
    rows = pd.DataFrame({"path": ["1.png", "2.png"], "more": ["x", "y"], "label": ["a", "b"]})

    table = read_table(write(rows), COLUMNS, "t")

    assert table.rows.to_dict("list") == {"path": ["1.png", "2.png"], "label": ["a", "b"]}
    assert table.header == "path, more, label"


@pytest.mark.parametrize("kind", ["category", "int64", "float64", "bool", "str"])
def test_parquet_keeps_its_values(kind: str) -> None:
    rows = pd.DataFrame({"path": ["1.png", "2.png", "3.png"], "label": pd.Series([1, 0, 1]).astype(kind)})

    read = read_table(parquet(rows), COLUMNS, "t").rows

    assert read.astype(object).equals(pd.read_parquet(io.BytesIO(parquet(rows))).astype(object))


def test_missing_values_stay_missing() -> None:
    rows = pd.DataFrame({"path": ["1.png", None], "label": [None, 2]})

    for content in (parquet(rows), csv(rows)):
        assert read_table(content, COLUMNS, "t").rows.isna().to_numpy().tolist() == [[False, True], [True, False]]


def test_quoted_fields_may_hold_line_breaks_and_many_lines_no_quotation_mark() -> None:
    lines = "\n".join(f"{index}.png,a" for index in range(300_000))

    table = read_rows(f'path,label\n"a\nb.png","x ""y"""\n{lines}\n"c.png",b\n')

    assert len(table) == 300_002
    assert table.iloc[0].tolist() == ["a\nb.png", 'x "y"']


def test_a_quotation_mark_that_stays_open_is_named_with_its_row() -> None:
    lines = "\n".join(f"{index}.png,a" for index in range(300_000))

    with pytest.raises(DataError, match=r"has a row of more than 1,048,576 characters \(it begins '\"0\.png,a"):
        read_rows(f'path,label\n"{lines}\n')


def test_a_quotation_mark_within_a_field_opens_none() -> None:
    lines = "\n".join(f"{index}.png,a" for index in range(100_000))

    assert read_rows(f'path,label\n12" mix.jpg,a\n{lines}\n').iloc[0].tolist() == ['12" mix.jpg', "a"]


def test_columns_that_nobody_needs_cost_little() -> None:
    """Embeddings beside the path and the label."""
    wide = pd.DataFrame([[0.5] * 3_000] * 3).assign(path=["1.png", "2.png", "3.png"], label=["a", "b", "a"])
    wide.columns = wide.columns.astype(str)

    for content in (parquet(wide), csv(wide)):
        assert read_table(content, COLUMNS, "t").rows["label"].tolist() == ["a", "b", "a"]


@pytest.mark.parametrize(
    "text",
    [
        "path,label\n1.png,a\n2.png,b\n",
        "Path, Label\n1.png, a\n2.png, b\n",
        '"path", "label"\n"1.png", "a"\n"2.png", "b"\n',
        "label;path\na;1.png\nb;2.png\n",
        "id\tpath\tlabel\n0\t1.png\ta\n1\t2.png\tb\n",
        "\n\npath,label\r\n1.png,a\r\n\r\n2.png,b\r\n,\r\n",
        "path,label\n1.png,a,\n2.png,b,\n",  # a separator after each row
        "path,label,note\n1.png,a\n2.png,b,x\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_csv_files_of_other_programs_are_read(text: str, encoding: str) -> None:
    rows = read_table(text.encode(encoding), COLUMNS, "t").rows

    assert rows[["path", "label"]].to_numpy().tolist() == [["1.png", "a"], ["2.png", "b"]]


def test_a_windows_code_page_is_read_and_told() -> None:
    table = read_table("path,label\n1.png,grün\n".encode("cp1252"), COLUMNS, "t")

    assert table.rows["label"].tolist() == ["grün"]
    assert "is not UTF-8 and was read as Windows-1252" in table.remarks[0]


def test_blanks_after_separators_are_told_wherever_they_begin() -> None:
    assert read_table(b'path,label\n"1, 2.png",a\n', COLUMNS, "t").remarks == ()

    (remark,) = read_table(b"path,label\n1.png,a\n2.png,  a\n", COLUMNS, "t").remarks
    assert "has blanks after its separators, as in '2.png,  a'" in remark


def test_one_more_field_than_the_header_is_refused_with_both() -> None:
    """pandas would take the paths for an index, and the labels for paths."""
    with pytest.raises(DataError, match=r"has 3 fields in row 1 \(1\.png, a, 7\), and 2 columns .* \(path, label\)"):
        read_rows("path,label\n1.png,a,7\n2.png,b,8\n")


def test_a_large_table_is_read_within_limits_of_time_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"path,label\n" + b"1.png,a\n" * 600_000
    assert len(read_table(content, COLUMNS, "t").rows) == 600_000

    for limits, said in ((Limits(0.05, 2**30), "more than 0.05 s"), (Limits(60, 2**20), "GiB of memory")):
        monkeypatch.setattr(tables, "_read_limited", Limited(tables._read, limits))
        with pytest.raises(DataError, match=f"t needs .*{said}.*: split it"):
            read_table(content, COLUMNS, "t")
