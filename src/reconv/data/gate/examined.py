"""What the gate looks at, and the form of what it finds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import pandas as pd

from reconv.artifacts import DataFinding, DataPicture, Severity, SkippedFiles
from reconv.data.near import Pairs
from reconv.untrusted import printable

_MAX_NAMED, _MAX_PICTURED = 50, 12
MAX_SEEN_THROUGH = 50
"""So many blank images are looked at for a picture in their transparency."""


@dataclass(frozen=True)
class Examined:
    files: pd.DataFrame
    """A row per file: path, problem. Empty of a published set."""
    images: pd.DataFrame
    """A row per image that can be used: path, class (its name), split, index (its position in the split), content (a
    number, the same for the same pixels), group (a number, -1 for none), height and width of the file, is_grey,
    brightness, contrast and colourfulness of the pixels (0 to 255), seen_on (the ground, white or black, on which the
    transparency of a blank image holds a picture; else empty)."""
    near: Pairs
    """Positions in `images` of such that look alike, as copies do, and have not the same pixels."""
    alike_classes: tuple[str, ...]
    """Classes whose images look alike by nature, so that none of them is in `near`."""
    class_names: tuple[str, ...]
    has_splits: bool
    """The source came with splits of its own."""
    is_published: bool
    """A published set is what it is: nothing about it stops."""
    empty_folders: tuple[str, ...] = ()
    """Folders beside the classes that hold no file; they are not in `class_names`."""
    skipped: Sequence[SkippedFiles] = ()
    too_small: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """data.test or data.validation -> class that it cannot split -> images (or groups of them) that it has."""


def finding(
    kind: str, severity: Severity, text: str, rows: pd.DataFrame, notes: Iterable[str] = (), is_pictured: bool = True
) -> DataFinding:
    """About those images or files, in this order, each with what there is to say of it."""
    paths, said = rows["path"].iloc[:_MAX_NAMED], [*islice(notes, _MAX_NAMED)]
    names = [printable(f"{path} {note}").rstrip() for path, note in zip(paths, said or [""] * len(paths), strict=True)]
    pictured = rows[:_MAX_PICTURED] if is_pictured and "index" in rows else rows[:0]
    places = zip(names, pictured.get("split", ()), pictured.get("index", ()), strict=False)
    return DataFinding(
        kind=kind,
        severity=severity,
        count=len(rows),
        text=text,
        files=tuple(names),
        pictures=tuple(DataPicture(split=split, index=index, caption=name) for name, split, index in places),
    )


def remark(kind: str, severity: Severity, text: str, about: Sequence[str] = ()) -> DataFinding:
    """Make a finding about classes or folders instead of images; `about` names them, each with a note."""
    named = tuple(printable(name) for name in about[:_MAX_NAMED])
    return DataFinding(kind=kind, severity=severity, count=len(about), text=text, files=named, pictures=())


def quoted(name: str) -> str:
    """Return a class's name as it stands in a sentence."""
    return f'"{printable(name)}"'


def counted(number: int, what: str = "image", several: str = "") -> str:
    """Return the number with its noun; `several` is the plural if that is not just an s."""
    return f"{number:,} {what if number == 1 else several or what + 's'}"
