"""Tables that name images: CSV or Parquet, read within bounds on time and memory. Called by files."""

import io
from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from reconv.errors import DataError

MAX_TABLE_BYTES = 2**30
"""The bound for the file and for the values that are read; a million images take about 0.1 GB."""
MAX_COLUMNS, MAX_ROWS = 2_000, 10 * 10**6
MAX_FIELD_BYTES = 2**20
_CELLS_AT_ONCE = 5 * 10**6
_BATCH_ROWS = 50_000
_PARQUET = b"PAR1"


def read_table(content: bytes, columns: Sequence[str], where: str) -> pd.DataFrame:
    """Return those of `columns` that it has, or all columns if it has none of them. Text stays text, even if it looks
    like a number or a missing value.

    Raises:
        DataError: it cannot be read, or breaks a bound.
    """
    _refuse_above(len(content), MAX_TABLE_BYTES, "bytes", where)
    try:
        read = _read_parquet if content.startswith(_PARQUET) else _read_csv
        return read(content, columns, where)
    except DataError:
        raise
    except Exception as error:  # of many kinds: KeyError, TypeError and Arrow's own
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{where} cannot be read as a table ({reason[:300]}): repair it.") from None


def _refuse_above(value: int, most: int, what: str, where: str) -> None:
    if value > most:
        raise DataError(f"{where} has {value:,} {what}, must have at most {most:,}: a table names one image per row.")


def _kept(names: Sequence[str], columns: Sequence[str]) -> list[str]:
    return [name for name in names if name in columns] or list(names)


def _read_csv(content: bytes, columns: Sequence[str], where: str) -> pd.DataFrame:
    for quote in (b"\n", b'"'):
        _refuse_long_fields(content, quote, where)
    num_columns = content.partition(b"\n")[0].count(b",") + 1
    _refuse_above(num_columns, MAX_COLUMNS, "columns", where)
    _refuse_above(content.count(b"\n"), MAX_ROWS, "rows", where)
    parts = pd.read_csv(
        io.BytesIO(content),
        dtype=str,
        keep_default_na=False,
        na_values=[""],
        chunksize=_CELLS_AT_ONCE // num_columns,
    )
    tables, names = [], list[str]()
    for part in parts:
        names = [str(name) for name in part.columns]
        tables.append(part[_kept(names, columns)])
    table = pd.concat(tables)
    table.attrs["columns"] = names
    return table


def _refuse_long_fields(content: bytes, separator: bytes, where: str) -> None:
    """Refuse a line or quoted field longer than the bound; separators are looked for in steps of that length."""
    at, num_marks = -1, 0
    while at + MAX_FIELD_BYTES < len(content):
        ahead = content.rfind(separator, at + 1, at + 1 + MAX_FIELD_BYTES)
        num_marks += content.count(separator, at + 1, ahead + 1) if separator == b'"' and ahead >= 0 else 0
        if ahead < 0 and (separator == b"\n" or num_marks % 2):
            what = "line" if separator == b"\n" else "quoted field"
            raise DataError(
                f"{where} has a {what} of more than {MAX_FIELD_BYTES:,} bytes (from byte {at + 1:,} on), must have "
                "shorter ones: close its quotation marks, or correct its line ends."
            )
        if ahead < 0:
            ahead = content.find(separator, at + 1)
            num_marks += 1
            if ahead < 0:
                return
        at = ahead


def _read_parquet(content: bytes, columns: Sequence[str], where: str) -> pd.DataFrame:
    """Read text dictionary-encoded, and unpack repeated values only once their size is known."""
    with pyarrow.parquet.ParquetFile(io.BytesIO(content)) as file:
        names = file.schema_arrow.names
        kept = _kept(names, columns)
        _check_metadata(file.metadata, kept, where)
        kinds = {name: file.schema_arrow.field(name).type for name in kept}
    for name, kind in kinds.items():
        if pa.types.is_nested(kind):
            raise DataError(f"{where} has values of the type {kind} in the column {name}, must be text or numbers.")
        if pa.types.is_fixed_size_binary(kind):
            _refuse_above(kind.byte_width, MAX_FIELD_BYTES, "bytes in a field", where)
    texts = [name for name, kind in kinds.items() if _is_text(kind)]
    num_bytes, batches = 0, []
    with pyarrow.parquet.ParquetFile(io.BytesIO(content), read_dictionary=texts) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=kept):
            num_bytes += sum(_num_bytes(column, where) for column in batch.columns)
            _refuse_above(num_bytes, MAX_TABLE_BYTES, "bytes when unpacked", where)
            batches.append(_without_dictionaries(pa.Table.from_batches([batch])))
        plain = pa.concat_tables(batches) if batches else file.read(kept)
    table: pd.DataFrame = plain.to_pandas().astype(object)  # which finds text that is no UTF-8
    table.attrs["columns"] = names
    return table


def _check_metadata(about: "pyarrow.parquet.FileMetaData", kept: Sequence[str], where: str) -> None:
    _refuse_above(about.num_columns, MAX_COLUMNS, "columns", where)
    _refuse_above(about.num_rows, MAX_ROWS, "rows", where)
    groups = (about.row_group(index) for index in range(about.num_row_groups))
    chunks = [group.column(index) for group in groups for index in range(group.num_columns)]
    num_bytes = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in kept)
    _refuse_above(num_bytes, MAX_TABLE_BYTES, "bytes when unpacked", where)


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind))


def _num_bytes(column: pa.Array, where: str) -> int:
    """Return the bytes of all rows, even if a dictionary holds each value once."""
    if not pa.types.is_dictionary(column.type) or not _is_text(column.type.value_type):
        return int(column.nbytes)
    lengths = pa.compute.cast(pa.compute.binary_length(column.dictionary), pa.int64())
    _refuse_above(pa.compute.max(lengths).as_py() or 0, MAX_FIELD_BYTES, "bytes in a field", where)
    return pa.compute.sum(lengths.take(column.indices)).as_py() or 0


def _without_dictionaries(table: pa.Table) -> pa.Table:
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(field.type.value_type))
    return table
