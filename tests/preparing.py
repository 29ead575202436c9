"""`fetch` and `prepare` as the stages call them, into folders of the current one."""

from pathlib import Path

from reconv.artifacts import DataReport, Manifest
from reconv.data.packing import prepare
from reconv.data.sources import fetch
from reconv.params import DataParams

RAW, PREPARED, DECODED = Path("raw"), Path("prepared"), Path("decoded")


def fetch_and_prepare(data: DataParams) -> tuple[Manifest, DataReport]:
    fetch(data.source, data.group, RAW, lambda _: None, columns=data.columns)
    return prepare(data, RAW, PREPARED, DECODED, lambda *_: None)
