"""What is in a source of images and what is wrong with it, before anything is trained. Called by `reconv inspect`.

It does what the stages `fetch` and `prepare` do, in a folder that is gone afterwards; what it decodes they need not
decode again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from reconv.artifacts import DataFinding, DataReport, Manifest
from reconv.data.packing import prepare
from reconv.data.remote import is_url
from reconv.data.sources import SOURCES, fetch
from reconv.errors import DataError
from reconv.params import DataParams
from reconv.places import STATE

_TABLES, _ARCHIVES = (".csv", ".parquet"), (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
_KINDS = ("folder:", "table:", "archive:")


@dataclass(frozen=True)
class Inspected:
    source: str
    """As data.source would name it."""
    stopped: str
    """Why a run would not begin; empty where it would."""
    manifest: Manifest | None
    """None if it would not."""
    report: DataReport | None

    @property
    def findings(self) -> tuple[DataFinding, ...]:
        return self.report.findings if self.report else ()


def source_named(data: str) -> str:
    """What data.source would be: a published set's name, folder:PATH, table:PATH or archive:PATH."""
    if data in SOURCES or data.startswith(_KINDS):
        return data
    name = data.lower()
    kind = "table" if name.endswith(_TABLES) else "archive" if name.endswith(_ARCHIVES) else "folder"
    if not is_url(data) and Path(data).expanduser().is_dir():
        kind = "folder"
    return f"{kind}:{data}"


def inspect(data: str, params: DataParams, progress: Callable[[int, int], None]) -> Inspected:
    """`params` say what becomes of the images; `progress` is told how many of how many are decoded.

    Raises:
        DataError: it cannot be read at all, or has no images.
        ParamsError: it is a URL that cannot be used.
    """
    source = source_named(data)
    group = params.group if source.startswith("table:") else None
    asked = params.model_copy(update={"source": source, "group": group})
    with TemporaryDirectory(prefix="reconv-") as folder:
        raw, prepared = Path(folder) / "raw", Path(folder) / "prepared"
        fetch(source, group, raw, lambda _: None)
        try:
            manifest, report = prepare(asked, raw, prepared, STATE / "decoded", progress)
        except DataError as error:
            return Inspected(source, str(error), None, None)
    return Inspected(source, "", manifest, report)
