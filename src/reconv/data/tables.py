"""Tables that name images: CSV or Parquet, read within bounds on time and memory. Called by files.

A small CSV file is read in this process; anything else in a process that is ended if it exceeds its limits.
"""

import codecs
import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from reconv.data.processes import Limited, LimitError, Limits
from reconv.errors import DataError

MAX_TABLE_BYTES = 2**30
"""The bound for the file and for the values that are read; a million images take about 0.1 GB."""
MAX_COLUMNS, MAX_ROWS = 100_000, 10 * 10**6
MAX_ROW_CHARACTERS = 2**20
"""The bound for a row of a CSV file, whose fields in quotation marks may hold line breaks; and for a Parquet value."""
_SMALL_BYTES = 4 * 2**20
LIMITS = Limits(seconds=120, memory_bytes=4 * 2**30)
_BATCH_ROWS = 50_000
_PARQUET = b"PAR1"
_SEPARATORS = ",;\t|"
_SHOWN_FIELDS, _SHOWN_LETTERS = 20, 50


@dataclass(frozen=True)
class Table:
    rows: pd.DataFrame
    """The wanted columns that it has, by the names that they are wanted by. CSV text stays text, even if it looks like
    a number; an empty field is a missing value."""
    header: str
    """Its columns in words, as the following."""
    first_row: str = ""
    """Empty for Parquet."""
    remarks: tuple[str, ...] = ()
    """Remarks for the user on how unusual values were read."""


def read_table(content: bytes, wanted: Sequence[str], where: str) -> Table:
    """Read those of the `wanted` columns that it has; case and blanks around a name do not matter.

    Raises:
        DataError: it cannot be read, or breaks a bound.
    """
    _refuse_above(len(content), MAX_TABLE_BYTES, "bytes", where)
    is_small = len(content) <= _SMALL_BYTES and not content.startswith(_PARQUET)
    try:
        return (_read if is_small else _read_limited)(content, tuple(wanted), where)
    except LimitError as error:
        raise DataError(f"{where} {error}: split it, or save only the columns that are used.") from None


def _read(content: bytes, wanted: Sequence[str], where: str) -> Table:
    try:
        read = _read_parquet if content.startswith(_PARQUET) else _read_csv
        return read(content, wanted, where)
    except DataError:
        raise
    except Exception as error:  # of many kinds: KeyError, TypeError and Arrow's own
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{where} cannot be read as a table ({reason[:300]}): repair it.") from None


_read_limited = Limited(_read, LIMITS)


def _refuse_above(value: int, most: int, what: str, where: str) -> None:
    if value > most:
        raise DataError(f"{where} has {value:,} {what}, must have at most {most:,}: a table names one image per row.")


def in_words(fields: Sequence[str]) -> str:
    """Return the first of them in one line."""
    more = f" and {len(fields) - _SHOWN_FIELDS:,} more" if len(fields) > _SHOWN_FIELDS else ""
    return ", ".join(field[:_SHOWN_LETTERS] for field in fields[:_SHOWN_FIELDS]) + more


def _folded(name: str) -> str:
    return name.strip().casefold()


def _positions(header: Sequence[str], wanted: Iterable[str]) -> dict[str, int]:
    """Return wanted name -> column: one of exactly that name, else the first that differs only in case and blanks."""
    exact = {name: at for at, name in reversed([*enumerate(header)])}
    alike = {_folded(name): at for at, name in reversed([*enumerate(header)])}
    found = {name: exact.get(name, alike.get(_folded(name))) for name in wanted}
    return {name: at for name, at in found.items() if at is not None}


def _read_csv(content: bytes, wanted: Sequence[str], where: str) -> Table:
    _refuse_above(max(content.count(b"\n"), content.count(b"\r")), MAX_ROWS, "rows", where)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _parse(content, "utf-16", wanted, where)
    try:
        return _parse(content, "utf-8-sig", wanted, where)
    except UnicodeDecodeError:
        table = _parse(content, "cp1252", wanted, where)
        remark = "is not UTF-8 and was read as Windows-1252; if names look wrong, save it as UTF-8"
        return replace(table, remarks=(remark, *table.remarks))


class _Lines(Iterator[str]):
    """The lines of a text, refused where the lines of one row are too long together."""

    def __init__(self, content: bytes, encoding: str, where: str) -> None:
        self._text = io.TextIOWrapper(io.BytesIO(content), encoding, newline="")
        self._where = where
        self._first = self.last = ""
        self.row_characters = 0
        """To be set to 0 after each row."""

    def __next__(self) -> str:
        self.last = self._text.readline(MAX_ROW_CHARACTERS + 1)
        if not self.last:
            raise StopIteration
        self._first = self._first if self.row_characters else self.last
        self.row_characters += len(self.last)
        if self.row_characters > MAX_ROW_CHARACTERS:
            raise DataError(
                f"{self._where} has a row of more than {MAX_ROW_CHARACTERS:,} characters (it begins "
                f"{self._first[:_SHOWN_LETTERS]!r}), must have shorter ones: close its quotation marks, or correct its "
                "line ends."
            )
        return self.last


def _parse(content: bytes, encoding: str, wanted: Sequence[str], where: str) -> Table:
    csv.field_size_limit(MAX_ROW_CHARACTERS)
    lines = _Lines(content, encoding, where)
    first_line = next((line for line in lines if line.strip()), None)
    if first_line is None:
        raise ValueError("it is empty")
    separator = _separator(first_line, wanted)
    reader = csv.reader(chain([first_line], lines), delimiter=separator, skipinitialspace=True, strict=True)
    header = next(reader)
    _refuse_above(len(header), MAX_COLUMNS, "columns", where)
    positions = _positions(header, wanted)
    rows = _Rows(separator, header, positions, where)
    try:
        lines.row_characters = 0
        for row in reader:
            if any(row):
                rows.add(row, lines.last)
            lines.row_characters = 0
    except csv.Error as error:
        raise DataError(
            f"{where} cannot be read as a table (line {reader.line_num}: {error}): correct its quotation marks."
        ) from None
    return rows.table()


def _separator(first_line: str, wanted: Iterable[str]) -> str:
    """Return the one that makes the most wanted columns of the header, then the most columns."""
    folded = {_folded(name) for name in wanted}

    def fit(separator: str) -> tuple[int, int]:
        names = next(csv.reader([first_line], delimiter=separator, skipinitialspace=True))
        return len(folded.intersection(map(_folded, names))), len(names)

    return max(_SEPARATORS, key=fit)


class _Rows:
    """Collects the wanted fields of rows."""

    def __init__(self, separator: str, header: Sequence[str], positions: Mapping[str, int], where: str) -> None:
        self._separator, self._header, self._positions, self._where = separator, header, positions, where
        self._columns: dict[str, list[str]] = {name: [] for name in positions}
        self._parts: list[pd.DataFrame] = []
        self._num_rows = 0
        self._first_row = ""
        self._with_blanks = ""

    def add(self, row: list[str], line: str) -> None:
        width = len(self._header)
        if len(row) > width and any(row[width:]):
            raise DataError(
                f"{self._where} has {len(row)} fields in row {self._num_rows + 1} ({in_words(row)}), and "
                f"{width} columns in its header ({in_words(self._header)}), must have as many: name each column in the "
                "header, and put a field that holds a separator in quotation marks."
            )
        row.extend([""] * (width - len(row)))
        for name, at in self._positions.items():
            self._columns[name].append(row[at])
        if not self._with_blanks and f"{self._separator} " in line:
            self._look_for_blanks(row, line)
        self._first_row = self._first_row or in_words(row)
        self._num_rows += 1
        if self._num_rows % _BATCH_ROWS == 0:
            self._flush()

    def _look_for_blanks(self, row: Sequence[str], line: str) -> None:
        """Note a blank after a separator, which is not part of the value."""
        as_written = next(csv.reader([line], delimiter=self._separator))
        if len(as_written) == len(row) and any(
            as_written[at].lstrip(" ") == row[at] != as_written[at] for at in self._positions.values()
        ):
            self._with_blanks = line.strip()[:_SHOWN_LETTERS]

    def _flush(self) -> None:
        """Keep what was collected in a tenth of the memory that a list of texts takes."""
        part = pd.DataFrame(self._columns, dtype="str")
        self._parts.append(part.mask(part == ""))
        for values in self._columns.values():
            values.clear()

    def table(self) -> Table:
        self._flush()
        remark = f"has blanks after its separators, as in {self._with_blanks!r}: they are not part of a name"
        return Table(
            pd.concat(self._parts, ignore_index=True),
            in_words(self._header),
            self._first_row,
            (remark,) if self._with_blanks else (),
        )


def _read_parquet(content: bytes, wanted: Sequence[str], where: str) -> Table:
    """Read text dictionary-encoded, and unpack repeated values only once their size is known."""
    with pyarrow.parquet.ParquetFile(io.BytesIO(content)) as file:
        _refuse_above(file.metadata.num_columns, MAX_COLUMNS, "columns", where)
        header = file.schema_arrow.names
        names = {name: header[at] for name, at in _positions(header, wanted).items()}
        kinds = {name: file.schema_arrow.field(name).type for name in names.values()}
        _check_kinds(kinds, where)
        _check_sizes(file.metadata, kinds, where)
    texts = [name for name, kind in kinds.items() if _is_text(kind)]
    num_bytes, batches = 0, []
    with pyarrow.parquet.ParquetFile(io.BytesIO(content), read_dictionary=texts) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=list(kinds)):
            num_bytes += sum(_num_bytes(column, where) for column in batch.columns)
            _refuse_above(num_bytes, MAX_TABLE_BYTES, "bytes when unpacked", where)
            batches.append(_without_dictionaries(pa.Table.from_batches([batch])))
        plain = pa.concat_tables(batches) if batches else file.read(list(kinds))
    plain.validate(full=True)  # which finds text that is not UTF-8
    rows = plain.to_pandas(ignore_metadata=True)
    return Table(pd.DataFrame({name: rows[column] for name, column in names.items()}), in_words(header))


def _check_kinds(kinds: Mapping[str, pa.DataType], where: str) -> None:
    for name, kind in kinds.items():
        if pa.types.is_nested(kind):
            raise DataError(f"{where} has values of the type {kind} in the column {name}, must be text or numbers.")
        if pa.types.is_fixed_size_binary(kind):
            _refuse_above(kind.byte_width, MAX_ROW_CHARACTERS, "bytes in a field", where)


def _check_sizes(about: "pyarrow.parquet.FileMetaData", kept: Iterable[str], where: str) -> None:
    _refuse_above(about.num_rows, MAX_ROWS, "rows", where)
    kept_columns = [at for at in range(about.num_columns) if about.schema.column(at).path in kept]
    groups = (about.row_group(index) for index in range(about.num_row_groups))
    num_bytes = sum(group.column(at).total_uncompressed_size for group in groups for at in kept_columns)
    _refuse_above(num_bytes, MAX_TABLE_BYTES, "bytes when unpacked", where)


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind))


def _num_bytes(column: pa.Array, where: str) -> int:
    """Return the bytes of all rows, even if a dictionary holds each value once."""
    if not pa.types.is_dictionary(column.type) or not _is_text(column.type.value_type):
        return int(column.nbytes)
    lengths = pa.compute.cast(pa.compute.binary_length(column.dictionary), pa.int64())
    _refuse_above(pa.compute.max(lengths).as_py() or 0, MAX_ROW_CHARACTERS, "bytes in a field", where)
    return pa.compute.sum(lengths.take(column.indices)).as_py() or 0


def _without_dictionaries(table: pa.Table) -> pa.Table:
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(field.type.value_type))
    return table
