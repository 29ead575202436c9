"""Sources that are files of images: a folder, a table or an archive, here or behind a URL. `fetch` lists them,
`prepare` reads them again."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pandas as pd

from reconv.artifacts import DataFinding
from reconv.data import gate
from reconv.data.archives import ArchiveStorage
from reconv.data.folders import list_folder
from reconv.data.gate.examined import counted, quoted, remark
from reconv.data.inspecting import inspect
from reconv.data.listing import Listing
from reconv.data.remote import RemoteStorage, is_url, parent_of
from reconv.data.skipped import not_images, sort_out
from reconv.data.spec import TABLES, Kind
from reconv.data.storage import FolderStorage, Storage
from reconv.data.table_listing import list_table, refuse_if_none_exists, wanted
from reconv.data.tables import MAX_TABLE_BYTES, Table, read_table
from reconv.errors import DataError, ImageError
from reconv.params import PLAIN_COLUMNS, ColumnsParams

LISTED = "images.parquet"


@dataclass(frozen=True)
class FilesSource:
    kind: Kind
    location: str
    """Of the folder, the table or the archive: a path or a URL."""
    group: str | None
    """A column of the table."""
    state: Path
    """Where copies of what lies behind URLs are, and what was found out about files; it may be deleted."""
    columns: ColumnsParams = PLAIN_COLUMNS
    """How the table's columns are named."""

    @property
    def downloads(self) -> Path:
        return self.state / "downloads"

    def storage(self, is_fresh: bool = False) -> Storage:
        """With `is_fresh` copies of remote files are compared with these.

        Raises:
            DataError: there is none.
        """
        if self.kind == "archive":
            return ArchiveStorage(self._local(is_fresh), self.location)
        if is_url(self.location):
            root = self.location if self.kind == "folder" else parent_of(self.location)
            return RemoteStorage(root, self.downloads, is_fresh)
        path = Path(self.location)
        return FolderStorage(path if self.kind == "folder" else path.parent)

    def list_files(self, refuse: gate.Refuse = gate.refuse) -> tuple[Listing, pd.DataFrame]:
        """Return what is there, and a row per file, sorted by path: path, label, split, group, sha256, height, width,
        grey, problem. The label is the class's number, the split empty where `prepare` has to choose; what cannot be
        read of a file is empty or 0. `refuse` is told of classes without an image before any is read.

        Raises:
            DataError: the folder, table or archive cannot be read, or is not as it should be.
        """
        with self.storage(is_fresh=True) as storage:
            listing = self._listing(storage)
            refuse([*_without_images(listing, self.location)])
            known = {"path": listing.paths, "label": listing.labels, "split": listing.splits, "group": listing.groups}
            inspected = inspect(storage, listing.paths, self.state / "inspected", self.location)
            return listing, pd.DataFrame(known).join(inspected)

    def _listing(self, storage: Storage) -> Listing:
        where = self.location
        if self.kind == "table":
            table = self.table()
            listing = list_table(table, where, self.columns, self.group, self.root)
            self._refuse_if_none_exists(storage, listing, table, where)
            return listing
        if self.kind == "archive":
            names, _ = sort_out(storage.names())
            tables = [name for name in names if name.lower().endswith(TABLES)]
            if len(tables) == 1:
                return self._listing_by(tables[0], storage)
        if self.group is not None:
            raise DataError(
                f"data.group is {self.group!r}, but {where} is no table with columns: set it to null in params.yaml."
            )
        if self.columns != PLAIN_COLUMNS:
            raise DataError(
                f"data.columns names columns, but {where} is not a table: set data.columns to {{}} in params.yaml."
            )
        listing = list_folder(storage, where)
        return listing.without(not_images(storage, listing.paths))

    def table(self) -> Table:
        """Return the columns of the table that are used; for the kind `table`.

        Raises:
            DataError: it cannot be read.
        """
        return read_table(self._table_content(), wanted(self.columns, self.group), self.location)

    @property
    def root(self) -> str | None:
        """The table's folder; None if it is behind a URL."""
        return None if is_url(self.location) else str(Path(self.location).absolute().parent)

    def _table_content(self) -> bytes:
        try:
            path = self._local(is_fresh=True)
            if path.exists() and not path.is_file() and not path.is_dir():
                raise DataError(f"{self.location} is a pipe or a device, must be a file: copy it into one.")
            if (size := path.stat().st_size) > MAX_TABLE_BYTES:
                raise DataError(f"{self.location} has {size:,} bytes, must have at most {MAX_TABLE_BYTES:,}: split it.")
            return path.read_bytes()
        except OSError as error:
            raise DataError(
                f"data.source names the table {self.location}, which cannot be read ({error.strerror}): "
                "correct the path in params.yaml or the file's permissions."
            ) from None

    def _listing_by(self, name: str, storage: Storage) -> Listing:
        """As the table of that name in the archive says; its paths are relative to where it lies."""
        where = f"{name} in {self.location}"
        try:
            content = storage.read(name)
        except ImageError as error:
            raise DataError(f"the table {where} {error}: repair the archive.") from None
        table = read_table(content, wanted(self.columns, self.group), where)
        listing = list_table(table, where, self.columns, self.group)
        listing = replace(listing, paths=tuple(str(PurePosixPath(name).parent / path) for path in listing.paths))
        self._refuse_if_none_exists(storage, listing, table, where)
        return listing

    def _refuse_if_none_exists(self, storage: Storage, listing: Listing, table: Table, where: str) -> None:
        remedy = 'If that is the image, set path: "{}" in data.columns of params.yaml.'
        refuse_if_none_exists(storage, listing.paths, table, where, self.columns, remedy)

    def _local(self, is_fresh: bool) -> Path:
        """The table or the archive, or a copy of it."""
        if not is_url(self.location):
            return Path(self.location)
        try:
            return RemoteStorage(self.location, self.downloads, is_fresh).copy_of(self.location)
        except ImageError as error:
            raise DataError(f"data.source names {self.location}, which {error}: correct it in params.yaml.") from None


def _without_images(listing: Listing, where: str) -> Iterator[DataFinding]:
    if names := listing.without_images:
        text = f"{counted(len(names), 'class folder')} of {where} without an image: add some or remove the folder."
        yield remark("classes without an image", "error", text, [f"class {quoted(name)}" for name in names])
