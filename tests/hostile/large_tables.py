"""Tables that took minutes or gigabytes before they were bounded, from a few lines of a good one."""

import io
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet
from hostile.case import Case
from hostile.tables import row


def parquet(more: dict[str, pa.Array], compression: str = "zstd") -> Callable[[str], bytes]:
    def written(_: str) -> bytes:
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(pa.table(more), buffer, compression=compression)
        return buffer.getvalue()

    return written


def repeated(text: str, times: int) -> pa.Array:
    """A value that is stored once."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), pa.array([text]))


def of_columns(count: int) -> Callable[[str], bytes]:
    return lambda text: "\n".join(line + ",x" * count for line in text.splitlines()).encode()


LARGE_TABLES = [
    Case("Parquet, 6 GB in a few bytes", parquet(
        {"path": repeated("x" * 1_000_000, 6_000), "label": repeated("a", 6_000)}
    ), "stops: has 6,000,006,000 bytes when unpacked, must have at most 1,073,741,824"),
    Case("Parquet, a field of 20 MB", parquet(
        {"path": pa.array(["x" * 20_000_000]), "label": pa.array(["a"])}
    ), "stops: has 20,000,000 bytes in a field, must have at most 1,048,576"),
    Case("Parquet, 11 million rows", parquet(
        {"path": repeated("x", 11_000_000), "label": repeated("a", 11_000_000)}
    ), "stops: has 11,000,000 rows, must have at most 10,000,000"),
    Case("Parquet, 3,000 columns but none of path and label", parquet(
        {str(index): pa.array([["x"]]) for index in range(3_000)}
    ), "stops: must have one column named path or image or file or filename and one named label or class"),
    Case("Parquet, 101,000 columns", parquet(
        {str(index): pa.array(["x"]) for index in range(101_000)}, "none"
    ), "stops: has 101,000 columns, must have at most 100,000"),
    Case("a million columns", of_columns(1_000_000), "stops: has a row of more than 1,048,576 characters"),
    Case("3,000 columns", of_columns(3_000), "ignored"),
    Case("101,000 columns", of_columns(101_000), "stops: has 101,002 columns, must have at most 100,000"),
    Case("a row of a million fields", row("left/000.png,left" + ",x" * 1_000_000), "stops: has a row of more than 1,"),
    Case("a field of 30 MB", row("x" * 30_000_000 + ",left"), "stops: has a row of more than 1,048,576 characters"),
    Case("no line break", lambda text: text.encode().replace(b"\n", b" ") * 50_000, "stops: has a row of"),
    Case("a quoted field of 10 MB of lines", row(
        '"' + "x\n" * 5_000_000 + '",left'
    ), "stops: has a row of more than 1,048,576 characters"),
    Case("11 million rows", row("\n" * 11_000_000), "stops: rows, must have at most 10,000,000"),
]  # fmt: skip
