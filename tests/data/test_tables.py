import io

import pandas as pd
import pytest

from reconv.data.tables import read_table
from reconv.errors import DataError

COLUMNS = ("path", "label")


def parquet(rows: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    rows.to_parquet(buffer)
    return buffer.getvalue()


def csv(rows: pd.DataFrame) -> bytes:
    return rows.to_csv(index=False).encode()


@pytest.mark.parametrize("write", [parquet, csv])
def test_only_the_columns_that_are_wanted_are_read(write) -> None:  # type: ignore[no-untyped-def]
    rows = pd.DataFrame({"path": ["1.png", "2.png"], "more": ["x", "y"], "label": ["a", "b"]})

    table = read_table(write(rows), COLUMNS, "t")

    assert table.to_dict("list") == {"path": ["1.png", "2.png"], "label": ["a", "b"]}
    assert table.attrs["columns"] == ["path", "more", "label"]


@pytest.mark.parametrize("kind", ["category", "int64", "float64", "bool", "str"])
def test_parquet_keeps_its_values(kind: str) -> None:
    rows = pd.DataFrame({"path": ["1.png", "2.png", "3.png"], "label": pd.Series([1, 0, 1]).astype(kind)})

    assert read_table(parquet(rows), COLUMNS, "t").equals(pd.read_parquet(io.BytesIO(parquet(rows))).astype(object))


def test_missing_values_stay_missing() -> None:
    rows = pd.DataFrame({"path": ["1.png", None], "label": [None, 2]})

    for content in (parquet(rows), csv(rows)):
        assert read_table(content, COLUMNS, "t").isna().to_numpy().tolist() == [[False, True], [True, False]]


def test_quoted_fields_may_hold_line_breaks_and_many_lines_no_quotation_mark() -> None:
    lines = "\n".join(f"{index}.png,a" for index in range(300_000))

    table = read_table(f'path,label\n"a\nb.png","x ""y"""\n{lines}\n"c.png",b\n'.encode(), COLUMNS, "t")

    assert len(table) == 300_002
    assert table.iloc[0].tolist() == ["a\nb.png", 'x "y"']


def test_a_quotation_mark_that_stays_open_is_named_with_its_place() -> None:
    lines = "\n".join(f"{index}.png,a" for index in range(300_000))

    with pytest.raises(DataError, match=r"has a quoted field of more than 1,048,576 bytes \(from byte 12 on\)"):
        read_table(f'path,label\n"{lines}\n'.encode(), COLUMNS, "t")
