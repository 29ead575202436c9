"""Images -> a table of answers. Called by `reconv predict`.

What is answered is kept chunk by chunk, so that the same command goes on after an interruption; neither the images nor
the answers are ever all in memory.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from reconv.artifacts import SkippedFiles
from reconv.errors import DataError
from reconv.files import atomic, digest_of
from reconv.model_json import read_model_json
from reconv.params import PLAIN_COLUMNS, ColumnsParams, ResourcesParams
from reconv.places import STATE
from reconv.prediction.inputs import Inputs, open_inputs
from reconv.prediction.workers import Answers, answering
from reconv.serving.bundle import identity, read_served
from reconv.untrusted import as_cell

_FORMATS = (".parquet", ".csv")
_GROUP_CHUNKS = 32
_MAX_NAMED = 100
Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Predicted:
    images: int
    """Of the table: a row each."""
    answered_before: int
    """By a call that was interrupted."""
    seconds: float
    """From the first answer of this call to the last."""
    problems: dict[str, str]
    """Image -> why it was not answered; the first hundred."""
    num_problems: int
    classes: dict[str, int]
    """Class -> images that it was the answer to."""
    skipped: tuple[SkippedFiles, ...]


def predict(
    location: str,
    bundle: Path,
    out: Path,
    resources: ResourcesParams,
    progress: Progress = lambda *_: None,
    columns: ColumnsParams = PLAIN_COLUMNS,
) -> Predicted:
    """Write a row per image to `out` (.parquet or .csv): image, class, confidence, problem, and `probability_CLASS` of
    each class, calibrated; an image that cannot be decoded has a problem and no class.

    `progress` is told images done, of how many, and how many a second; `columns` says how a table names its images.

    Raises:
        DataError: there is no image at `location`, or `out` is of no known format.
        ParamsError, UnavailableError: a URL or a cluster cannot be used.
    """
    if out.suffix not in _FORMATS:
        raise DataError(f"--out is {out}, must end in {' or '.join(_FORMATS)}.")
    class_names = read_model_json(bundle).class_names
    with open_inputs(location, STATE, columns) as inputs:
        key = digest_of([inputs.digest, len(inputs), inputs.chunk_images, identity(bundle)])
        parts = STATE / "predict" / key[:16]
        parts.mkdir(parents=True, exist_ok=True)
        missing = [chunk for chunk in range(inputs.num_chunks) if not _part(parts, chunk).exists()]
        before = len(inputs) - sum(len(inputs.part(chunk)) for chunk in missing)
        written = _Summary()
        with answering(inputs, missing, bundle, read_served(bundle).conversion, resources) as answers:
            seconds = _keep(answers, inputs, parts, class_names, before, progress)
            _write(out, parts, inputs.num_chunks, written)  # before Ray ends: nothing that it does can cost the table
        shutil.rmtree(parts)
    return Predicted(
        len(inputs),
        before,
        seconds,
        written.problems,
        written.num_problems,
        dict(written.classes.most_common()),
        inputs.skipped,
    )


def _keep(
    answers: Iterable[Answers],
    inputs: Inputs,
    parts: Path,
    class_names: tuple[str, ...],
    before: int,
    progress: Progress,
) -> float:
    """Seconds between the first answer and the last, scaled to all of them."""
    began, done, first = 0.0, before, 0
    for one in answers:
        _write_part(_part(parts, one.chunk), inputs.names(one.chunk), one, class_names)
        done += len(one.probabilities)
        if not began:
            began, first = time.perf_counter(), len(one.probabilities)
        seconds = time.perf_counter() - began
        counted = done - before - first
        progress(done, len(inputs), counted / seconds if counted and seconds else 0.0)
    seconds = time.perf_counter() - began
    counted = done - before - first
    return seconds * (done - before) / counted if counted else 0.0


def _part(parts: Path, chunk: int) -> Path:
    return parts / f"{chunk:07d}.parquet"


def _write_part(path: Path, names: list[str], answers: Answers, class_names: tuple[str, ...]) -> None:
    probabilities_NK = answers.probabilities
    problems = [answers.problems.get(at) for at in range(len(names))]
    is_bad = np.array([problem is not None for problem in problems])
    best_N = probabilities_NK.argmax(axis=1)
    classes = [None if bad else class_names[best] for bad, best in zip(is_bad, best_N, strict=True)]
    columns: Mapping[str, pa.Array] = {
        "image": pa.array(names, pa.string()),
        "class": pa.array(classes, pa.string()),
        "confidence": pa.array(probabilities_NK.max(axis=1), pa.float32(), mask=is_bad),
        "problem": pa.array(problems, pa.string()),
        **{
            f"probability_{name}": pa.array(probabilities_NK[:, k], pa.float32(), mask=is_bad)
            for k, name in enumerate(class_names)
        },
    }
    with atomic(path) as temporary:
        pyarrow.parquet.write_table(pa.table(dict(columns)), temporary)


class _Summary:
    """Of the rows that it was shown."""

    def __init__(self) -> None:
        self.problems: dict[str, str] = {}
        self.num_problems = 0
        self.classes: Counter[str] = Counter()

    def add(self, table: pa.Table) -> None:
        bad = table.filter(pyarrow.compute.is_valid(table["problem"]))
        self.num_problems += len(bad)
        room = _MAX_NAMED - len(self.problems)
        named = bad.slice(0, room)
        self.problems |= dict(zip(named["image"].to_pylist(), named["problem"].to_pylist(), strict=True))
        for one in table["class"].drop_null().value_counts().to_pylist():
            self.classes[one["values"]] += one["counts"]


def _write(out: Path, parts: Path, num_chunks: int, summary: _Summary) -> None:
    """The parts in their order as one table, some of them at a time."""
    chunks = iter(range(num_chunks))
    with atomic(out.absolute()) as temporary, ExitStack() as opened:
        writer = None
        while group := list(islice(chunks, _GROUP_CHUNKS)):
            table = pa.concat_tables(pyarrow.parquet.read_table(_part(parts, chunk)) for chunk in group)
            writer = writer or opened.enter_context(_writer(out.suffix, temporary, table.schema))
            writer.write_table(_without_formulas(table) if out.suffix == ".csv" else table)
            summary.add(table)


def _without_formulas(table: pa.Table) -> pa.Table:
    for at, field in enumerate(table.schema):
        if field.type == pa.string():
            cells = [None if text is None else as_cell(text) for text in table[at].to_pylist()]
            table = table.set_column(at, field, pa.array(cells, pa.string()))
    return table


def _writer(suffix: str, path: Path, schema: pa.Schema) -> "pyarrow.parquet.ParquetWriter | pyarrow.csv.CSVWriter":
    if suffix == ".csv":
        return pyarrow.csv.CSVWriter(path, schema)
    return pyarrow.parquet.ParquetWriter(path, schema)
