"""What is in a source of images and what is wrong with it, before anything is trained. Called by `reconv inspect`.

It does what the stages `fetch` and `prepare` do, in a folder that is gone afterwards; what it decodes they need not
decode again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from reconv.artifacts import DataFinding, Split
from reconv.data.packing import examine
from reconv.data.sources import SOURCES, fetch
from reconv.data.spec import kind_of
from reconv.params import PLAIN_COLUMNS, DataParams
from reconv.places import STATE

_KINDS = ("folder:", "table:", "archive:")


@dataclass(frozen=True)
class Inspected:
    source: str
    """As data.source would name it."""
    findings: tuple[DataFinding, ...]
    """Errors first: a run would stop at each of them."""
    counts: dict[Split, int]
    """The number of usable images in each split."""
    images_per_class: dict[str, dict[str, int]]
    """split -> class name -> count."""
    image_shape: tuple[int, int, int]

    @property
    def problems(self) -> tuple[DataFinding, ...]:
        """Why a run would not begin; empty where it would."""
        return tuple(one for one in self.findings if one.severity == "error")


def source_named(data: str) -> str:
    """What data.source would be: a published set's name, folder:PATH, table:PATH or archive:PATH."""
    if data in SOURCES or data.startswith(_KINDS):
        return data
    return f"{kind_of(data)}:{data}"


def inspect(data: str, params: DataParams, progress: Callable[[int, int], None]) -> Inspected:
    """Check all that a run checks before training, and continue where a run would stop.

    `params` say how the images are decoded and split; `progress` is told how many of how many are decoded.

    Raises:
        DataError: it cannot be read at all, or is not laid out as images of classes.
        ParamsError: it is a URL that cannot be used.
    """
    source = source_named(data)
    has_columns = source.startswith("table:") or source == params.source
    group, columns = (params.group, params.columns) if has_columns else (None, PLAIN_COLUMNS)
    asked = params.model_copy(update={"source": source, "group": group, "columns": columns})
    found: list[DataFinding] = []
    with TemporaryDirectory(prefix="reconv-") as folder:
        fetch(source, group, Path(folder), lambda _: None, found.extend, columns)
        looked = examine(asked, Path(folder), STATE / "decoded", progress, refuse=lambda _: None)
        found += looked.findings
        return Inspected(
            source,
            tuple(sorted(found, key=lambda one: one.severity != "error")),
            looked.counts,
            looked.report.images_per_class,
            looked.found.shape,
        )
