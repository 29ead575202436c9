"""The images of a source with what is known of them, before they are split. Called by packing.

N images that can be used.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reconv.artifacts import RawSource
from reconv.data import gate
from reconv.data.decoded import DecodedImages, Say
from reconv.data.decoders import DecodeChunks, Sums
from reconv.data.decoding import Conversion
from reconv.data.files import LISTED, FilesSource
from reconv.data.fingerprints import Fingerprints, fingerprints
from reconv.data.shards import Indexable, PackedImages
from reconv.data.splitting import Ranks, drawn_ranks, ranks_by_content
from reconv.params import DataParams

_CHUNK_IMAGES = 1000


@dataclass(frozen=True)
class Found:
    files: pd.DataFrame
    """As `fetch` lists them, with the problems that decoding found; empty of a published set."""
    known: pd.DataFrame
    """(N,) rows: path, label, group, height, width, is_grey, split (empty where there is none yet)."""
    images: Indexable
    """Of which `rows` (N,) are theirs."""
    rows: NDArray[np.int64]
    shape: tuple[int, int, int]
    fingerprints: Fingerprints
    ranks: Ranks
    """(N,): those of the lowest are held out."""
    is_published: bool


def published(raw: Path, raw_source: RawSource, seed: int) -> Found:
    """Test images as published."""
    arrays = {name: np.load(raw / name, mmap_mode="r", allow_pickle=False) for name in raw_source.files}
    train, test = (arrays[f"{split}-images.npy"] for split in ("train", "test"))
    labels = [arrays[f"{split}-labels.npy"] for split in ("train", "test")]
    images = PackedImages([train, test])
    height, width, channels = train.shape[1:]
    chunks = (images[at : at + _CHUNK_IMAGES] for at in range(0, len(images), _CHUNK_IMAGES))
    known = {
        "path": [f"{split}/{i}" for split, part in (("train", train), ("test", test)) for i in range(len(part))],
        "label": np.concatenate(labels),
        "split": [""] * len(train) + ["test"] * len(test),
        "group": "",
        "height": height,
        "width": width,
        "is_grey": False,
    }
    return Found(
        files=pd.DataFrame({"path": [], "problem": []}),
        known=pd.DataFrame(known),
        images=images,
        rows=np.arange(len(images)),
        shape=(height, width, channels),
        fingerprints=np.concatenate([fingerprints(chunk) for chunk in chunks]),
        ranks=np.concatenate([drawn_ranks(labels[0], seed), np.zeros(len(test), np.uint64)]),
        is_published=True,
    )


def decoded_files(
    source: FilesSource,
    params: DataParams,
    raw: Path,
    state: Path,
    decode: DecodeChunks,
    say: Say,
    refuse: gate.Refuse = gate.refuse,
) -> Found:
    """Decode those that `fetch` listed in `raw`. `refuse` is told of unusable ones as soon as they are known.

    Raises:
        DataError: a file is no longer the one that was listed, or `refuse` stops it.
    """
    files = pd.read_parquet(raw / LISTED)
    refuse(gate.unusable(files, params))  # as far as headers tell, before anything is decoded
    readable = files[files["problem"] == ""]
    conversion = Conversion(params.image_size, _channels(readable, params), params.resize)
    decoded = DecodedImages(state, conversion)
    with source.storage() as storage:
        decoded.add(storage, readable["path"], _sums(readable), decode, say)
    found = files["sha256"].map(decoded.problems).fillna("")
    files = files.assign(problem=files["problem"].where(files["problem"] != "", found))
    refuse(gate.unusable(files, params))

    known = files[files["problem"] == ""].reset_index(drop=True)
    sums = _sums(known)
    rows = decoded.rows(sums)
    return Found(
        files=files,
        known=known.rename(columns={"grey": "is_grey"}),
        images=decoded.pixels,
        rows=rows,
        shape=conversion.shape,
        fingerprints=decoded.fingerprints(rows),
        ranks=ranks_by_content(sums, params.seed),
        is_published=False,
    )


def _channels(readable: pd.DataFrame, params: DataParams) -> Literal[1, 3]:
    if params.channels == "auto":
        return 1 if readable["grey"].all() else 3
    return params.channels


def _sums(files: pd.DataFrame) -> Sums:
    return np.frombuffer(bytes.fromhex("".join(files["sha256"])), "S32")
