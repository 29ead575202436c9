"""What a user should know of the images before hours are spent on them. Called by packing."""

from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from reconv.artifacts import DataFinding, Severity, SkippedFiles
from reconv.data.gate.classes import class_findings, without_files
from reconv.data.gate.copies import copy_findings
from reconv.data.gate.examined import Examined, counted, finding, remark
from reconv.data.gate.outliers import blank_findings, outlier_findings
from reconv.data.gate.values import of_values
from reconv.errors import DataError
from reconv.params import DataParams
from reconv.untrusted import printable

__all__ = ["Refuse", "check", "in_words", "of_values", "refuse", "remark", "skipped_files", "unusable", "without_files"]
_MAX_PRINTED = 5
Refuse = Callable[[Sequence[DataFinding]], None]
"""A function that receives the findings: a run stops if one is an error, `reconv inspect` collects them."""


def check(examined: Examined, params: DataParams) -> tuple[DataFinding, ...]:
    """Return what is wrong with the files, the images, the classes and their split, errors included."""
    findings = [*unusable(examined.files, params)]
    findings += [skipped_files(examined.skipped)] if examined.skipped else []
    if len(examined.images):
        findings += blank_findings(examined)
        findings += [*copy_findings(examined, params.allow_leakage), *class_findings(examined)]
        findings += outlier_findings(examined, params.image_size)
    return tuple(findings)


def refuse(findings: Sequence[DataFinding]) -> None:
    """Raise DataError if one of them is an error; the message names all that are."""
    if errors := [one for one in findings if one.severity == "error"]:
        raise DataError("\n".join(in_words(one) for one in errors))


def unusable(files: pd.DataFrame, params: DataParams) -> tuple[DataFinding, ...]:
    """Return the files that have a problem: an error if data.on_bad_image and data.max_bad_share do not allow them."""
    return tuple(_unusable(files, params))


def skipped_files(skipped: Sequence[SkippedFiles]) -> DataFinding:
    """Report what is in the folder or archive and is not read, with the reasons."""
    count = sum(group.count for group in skipped)
    reasons = (f"{group.count:,} {group.reason} ({', '.join(group.kinds)})" for group in skipped)
    text = f"{counted(count, 'file was', 'files were')} skipped: {printable('; '.join(reasons))}."
    files = tuple(printable(f"{name}: {group.reason}") for group in skipped for name in group.files)
    return DataFinding(kind="skipped files", severity="warning", count=count, text=text, files=files, pictures=())


def in_words(found: DataFinding) -> str:
    """With the first of its files."""
    shown = "".join(f"\n  - {name}" for name in found.files[:_MAX_PRINTED])
    more = found.count - min(len(found.files), _MAX_PRINTED)
    return f"{found.text}{shown}" + (f"\n  - and {more:,} more" if found.files and more else "")


def _unusable(files: pd.DataFrame, params: DataParams) -> Iterator[DataFinding]:
    bad = files[files["problem"] != ""]
    if bad.empty:
        return
    share = len(bad) / len(files)
    is_one = len(bad) == 1
    what = "is no image" if is_one else "are no images"
    text = f"{len(bad):,} of {len(files):,} files {what} that can be used"
    them = "it" if is_one else "them"
    severity: Severity = "error"
    if params.on_bad_image == "fail":
        remedy = f": repair or remove {them}, or set data.on_bad_image: quarantine."
    elif share > params.max_bad_share:
        remedy = f", {share:.1%}; data.max_bad_share allows {params.max_bad_share:.1%}: repair or remove {them}."
    else:
        remedy, severity = ": it was left out." if is_one else ": they were left out.", "warning"
    yield finding("unusable", severity, text + remedy, bad, bad["problem"])
