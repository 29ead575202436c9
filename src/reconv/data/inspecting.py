"""What the bytes of image files say before any is decoded. Called by files, for `fetch`.

A file that is as it was when it was inspected before, as far as its file system tells, is not read again: a few new
files beside a million old ones cost the time of the few.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pandas as pd

from reconv.data import decoding, file_checks, value_range
from reconv.data.limited_decoding import read_header
from reconv.data.processes import spread
from reconv.data.storage import Storage
from reconv.errors import ImageError
from reconv.files import digest_of, sha256_of_file, write_parquet

_CHUNK, _FEW_FILES = 250, 2000
_TYPES = {"sha256": "str", "height": "int64", "width": "int64", "grey": "bool", "problem": "str", "deep": "bool"}
_Row = tuple[str, int, int, bool, str, bool]


def inspect(storage: Storage, paths: Sequence[str], memory: Path, where: str) -> pd.DataFrame:
    """A row per path: sha256 (empty where it cannot be read), height, width, grey, and problem: why it is no image that
    can be used, as far as its header tells; empty if it is. Where any image has more than 8 bits, deep says which.
    `memory` is a folder for what was found out about the files of `where`; it may be deleted."""
    code = [sha256_of_file(Path(str(module.__file__))) for module in (file_checks, value_range, decoding)]
    remembered = memory / f"{digest_of([where, code])[:16]}.parquet"
    table = pd.DataFrame({"path": paths, "stamp": [storage.stamp(path) for path in paths]}, dtype="str")
    if remembered.exists():
        table = table.merge(pd.read_parquet(remembered), how="left", on=["path", "stamp"])
    else:
        table[[*_TYPES]] = None
    is_known = table["sha256"].notna()
    if not is_known.all():
        new = _read(storage, table["path"][~is_known])
        table = pd.concat([table[is_known], table.loc[~is_known, ["path", "stamp"]].join(new)]).sort_index()
        write_parquet(remembered, table[(table["stamp"] != "") & (table["problem"] == "")])
    found = table[[*_TYPES]].astype(_TYPES)
    return found if found["deep"].any() else found.drop(columns="deep")


def _read(storage: Storage, paths: "pd.Series[str]") -> pd.DataFrame:
    """Every file once, several at a time: in threads where that is waiting, in processes where it is work."""
    chunks = (paths.iloc[at : at + _CHUNK].tolist() for at in range(0, len(paths), _CHUNK))
    tables = []
    with ThreadPoolExecutor(storage.num_threads) as pool:
        if storage.num_threads > 1:
            rows: Iterator[list[_Row]] = (list(pool.map(partial(_inspect, storage), chunk)) for chunk in chunks)
        elif len(paths) < _FEW_FILES:
            rows = (_inspect_all(storage, chunk) for chunk in chunks)
        else:
            rows = spread(_inspect_all, storage, chunks)
        tables = [pd.DataFrame(chunk, columns=[*_TYPES]).astype(_TYPES) for chunk in rows]
    return pd.concat(tables).set_axis(paths.index)


def _inspect_all(storage: Storage, paths: Sequence[str]) -> list[_Row]:
    storage.expect(paths)
    return [_inspect(storage, path) for path in paths]


def _inspect(storage: Storage, path: str) -> _Row:
    sha256 = ""
    try:
        content = storage.read(path)
        sha256 = hashlib.sha256(content).hexdigest()
        header = read_header(content)
    except ImageError as error:
        return sha256, 0, 0, False, str(error), False
    return sha256, header.height, header.width, header.is_grey, "", header.is_deep
