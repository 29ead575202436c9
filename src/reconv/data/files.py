"""Sources that are files of images: a folder, a table or an archive. `fetch` lists them, `prepare` reads them again."""

import io
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import pandas as pd

from reconv.data.listing import Inspected, Listing, inspect, list_folder, list_table
from reconv.data.storage import ArchiveStorage, FolderStorage, Storage
from reconv.errors import DataError

LISTED = "images.parquet"
Kind = Literal["folder", "table", "archive"]
_TABLES = (".csv", ".parquet")


@dataclass(frozen=True)
class FilesSource:
    kind: Kind
    path: Path
    """Of the folder, the table or the archive."""
    group: str | None
    """A column of the table."""

    def storage(self) -> Storage:
        """Raises DataError if there is none."""
        if self.kind == "archive":
            return ArchiveStorage(self.path)
        return FolderStorage(self.path if self.kind == "folder" else self.path.parent)

    def list_files(self) -> tuple[tuple[str, ...], pd.DataFrame]:
        """Class names, and a row per file, sorted by path: path, label, split, group, sha256, height, width, grey,
        problem. The label is the class's number, the split empty where `prepare` has to choose; what cannot be read of
        a file is empty or 0.

        Raises:
            DataError: the folder, table or archive cannot be read, or is not as it should be.
        """
        with self.storage() as storage:
            listing = self._listing(storage)
            return listing.class_names, _as_table(listing, inspect(storage, listing.paths))

    def _listing(self, storage: Storage) -> Listing:
        where = str(self.path)
        if self.kind == "table":
            try:
                content = self.path.read_bytes()
            except OSError as error:
                raise DataError(
                    f"data.source names the table {where}, which cannot be read ({error.strerror}): "
                    "correct the path in params.yaml or the file's permissions."
                ) from None
            return list_table(_read_table(content, self.path.suffix, where), where, self.group)
        if self.kind == "archive":
            tables = [name for name in storage.names() if PurePosixPath(name).suffix.lower() in _TABLES]
            if len(tables) == 1:
                inside, where = PurePosixPath(tables[0]), f"{tables[0]} in {where}"
                table = _read_table(storage.read(tables[0]), inside.suffix, where)
                listing = list_table(table, where, self.group)
                return replace(listing, paths=tuple(str(inside.parent / path) for path in listing.paths))
        if self.group is not None:
            raise DataError(
                f"data.group is {self.group!r}, but {where} is no table with columns: set it to null in params.yaml."
            )
        return list_folder(storage, where, may_be_wrapped=self.kind == "archive")


def _read_table(content: bytes, suffix: str, where: str) -> pd.DataFrame:
    """Text stays text, also what looks like a number or a missing value."""
    try:
        if suffix.lower() == ".csv":
            return pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False, na_values=[""])
        return pd.read_parquet(io.BytesIO(content))
    except (ValueError, OSError) as error:
        raise DataError(f"{where} cannot be read as a table ({str(error).splitlines()[0]}): repair it.") from None


def _as_table(listing: Listing, inspected: list[Inspected]) -> pd.DataFrame:
    headers = [one.header for one in inspected]
    return pd.DataFrame(
        {
            "path": listing.paths,
            "label": listing.labels,
            "split": listing.splits,
            "group": listing.groups,
            "sha256": [one.sha256 for one in inspected],
            "height": [header.height if header else 0 for header in headers],
            "width": [header.width if header else 0 for header in headers],
            "grey": [bool(header and header.is_grey) for header in headers],
            "problem": [one.problem for one in inspected],
        }
    )
