"""The images of a source with what is known of them, before they are split. Called by packing.

N images that can be used.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reconv.artifacts import DataFinding, RawSource
from reconv.data import gate
from reconv.data.decoded import DecodedImages, Say
from reconv.data.decoders import DecodeChunks, Sums, decode_locally
from reconv.data.decoding import Conversion, Extremes, Transparency
from reconv.data.files import LISTED, FilesSource
from reconv.data.fingerprints import Fingerprints, fingerprints, means_and_deviation
from reconv.data.gate.examined import MAX_SEEN_THROUGH
from reconv.data.shards import Indexable, PackedImages
from reconv.data.splitting import Ranks, drawn_ranks, ranks_by_content
from reconv.data.storage import Storage
from reconv.data.value_range import FULL_RANGE, ValueRange, used_range
from reconv.params import DataParams

_CHUNK_IMAGES = 1000
_GROUNDS: tuple[Transparency, ...] = ("white", "black")


@dataclass(frozen=True)
class Found:
    files: pd.DataFrame
    """As `fetch` lists them, with the problems that decoding found; empty of a published set."""
    known: pd.DataFrame
    """(N,) rows: path, label, group, height, width, is_grey, split (empty where there is none yet), seen_on (white or
    black: where a blank image's transparency holds a picture; else empty)."""
    images: Indexable
    """Of which `rows` (N,) are theirs."""
    rows: NDArray[np.int64]
    shape: tuple[int, int, int]
    fingerprints: Fingerprints
    ranks: Ranks
    """(N,): those of the lowest are held out."""
    is_published: bool
    value_range: ValueRange = FULL_RANGE
    """The values that become black and white, in images with more than 8 bits."""
    findings: tuple[DataFinding, ...] = ()
    """Findings from decoding."""


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
        "seen_on": "",
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
    deep = readable[readable["deep"]] if "deep" in readable else readable[:0]
    with source.storage() as storage:
        extremes = _extremes(storage, deep, state, decode, say)
        value_range = used_range(extremes) if len(extremes) else FULL_RANGE
        conversion = Conversion(
            params.image_size, _channels(readable, params), params.resize, params.transparency, value_range
        )
        decoded = DecodedImages(state, conversion)
        decoded.add(storage, readable["path"], _sums(readable), decode, say)
    found = files["sha256"].map(decoded.problems).fillna("")
    files = files.assign(problem=files["problem"].where(files["problem"] != "", found))
    refuse(gate.unusable(files, params))

    known = files[files["problem"] == ""].reset_index(drop=True)
    sums = _sums(known)
    rows = decoded.rows(sums)
    with source.storage() as storage:
        known["seen_on"] = _seen_on(storage, known["path"], sums, decoded.fingerprints(rows), conversion, state)
    return Found(
        files=files,
        known=known.rename(columns={"grey": "is_grey"}),
        images=decoded.pixels,
        rows=rows,
        shape=conversion.shape,
        fingerprints=decoded.fingerprints(rows),
        ranks=ranks_by_content(sums, params.seed),
        is_published=False,
        value_range=value_range,
        findings=gate.of_values(extremes, value_range),
    )


def _extremes(storage: Storage, deep: pd.DataFrame, state: Path, decode: DecodeChunks, say: Say) -> NDArray[np.int64]:
    """(images with more than 8 bits, 2): the smallest and the largest value of each that can be decoded."""
    if deep.empty:
        return np.empty((0, 2), np.int64)
    measured = DecodedImages(state, Extremes())
    measured.add(storage, deep["path"], _sums(deep), decode, say)
    rows = measured.rows(_sums(deep[~deep["sha256"].isin(measured.problems)]))
    return measured.pixels[rows].reshape(len(rows), 8).view("<i4").astype(np.int64)


def _seen_on(
    storage: Storage, paths: "pd.Series[str]", sums: Sums, found: Fingerprints, conversion: Conversion, state: Path
) -> NDArray[np.str_]:
    """(N,): the ground on which one of the first blank images shows a picture, white or black; else empty."""
    grounds = np.full(len(paths), "", "U5")
    blank = np.flatnonzero(_deviation(found, conversion) < 1)[:MAX_SEEN_THROUGH]
    if conversion.transparency == "ignore" and len(blank):
        for ground in _GROUNDS:
            shown = DecodedImages(state, replace(conversion, transparency=ground))
            shown.add(storage, paths.iloc[blank], sums[blank], decode_locally, lambda *_: None)
            is_decoded = ~np.isin(sums[blank], [bytes.fromhex(one) for one in shown.problems])
            rows = shown.rows(sums[blank[is_decoded]])
            has_picture = _deviation(shown.fingerprints(rows), conversion) >= 1
            grounds[blank[is_decoded][has_picture]] = ground
    return grounds


def _deviation(found: Fingerprints, conversion: Conversion) -> NDArray[np.float64]:
    return means_and_deviation(found, conversion.image_size**2, conversion.channels)[1]


def _channels(readable: pd.DataFrame, params: DataParams) -> Literal[1, 3]:
    if params.channels == "auto":
        return 1 if readable["grey"].all() else 3
    return params.channels


def _sums(files: pd.DataFrame) -> Sums:
    return np.frombuffer(bytes.fromhex("".join(files["sha256"])), "S32")
