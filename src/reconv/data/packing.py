"""data/raw -> packed arrays, a split fixed once, and a report on the images. Called by the stage `prepare`.

Development images (training, then validation) lie in one file, so that "training and validation together" is a view of
the same mapped memory, as each of the two is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reconv.artifacts import DataFinding, DataReport, Manifest, RawSource
from reconv.data import gate
from reconv.data.decoded import DecodedImages, Say
from reconv.data.decoding import Conversion
from reconv.data.files import LISTED, FilesSource
from reconv.data.sources import source_of, verify_raw
from reconv.data.splitting import stratified_choice, units_of
from reconv.errors import DataError
from reconv.files import atomic, clear_dir, write_array
from reconv.params import DataParams

_CHUNK_BYTES = 8 * 2**20  # of images that are in memory at once
_DIGEST_BYTES = 16
_MAX_EXAMPLES = 50

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Digests = NDArray[np.bytes_]
Split = Literal["train", "validation", "test"]
_SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class _Part:
    """What a split is to hold."""

    images: Images
    """(M, height, width, channels), of which it has `rows`, in this order."""
    rows: NDArray[np.int64]
    labels: Labels
    """(N,), of the rows."""


_Parts = dict[Split, _Part]


def prepare(params: DataParams, raw: Path, prepared: Path, state: Path, say: Say) -> tuple[Manifest, DataReport]:
    """Write the packed arrays, data_report.json and, last, manifest.json. What was decoded stays in `state`, which may
    be deleted; `say` is told how many of how many are.

    Raises:
        DataError: raw files were altered, the gate found what may not be, or a class is too small for the split.
    """
    raw_source = RawSource.load(raw / "source.json")
    if raw_source.source != params.source:
        raise DataError(f"{raw} holds {raw_source.source}, data.source names {params.source}: run `dvc repro fetch`.")
    verify_raw(raw_source, raw)
    source, class_names = source_of(params.source, params.group), raw_source.class_names
    findings: tuple[DataFinding, ...] = ()
    if isinstance(source, FilesSource):
        parts, findings = _of_files(source, params, pd.read_parquet(raw / LISTED), class_names, state, say)
    else:
        parts = _published(params, raw, raw_source)

    clear_dir(prepared)
    train, validation, test = (parts[split] for split in _SPLITS)
    _write_rows(prepared / "development-images.npy", train.images, np.concatenate([train.rows, validation.rows]))
    write_array(prepared / "development-labels.npy", np.concatenate([train.labels, validation.labels]))
    _write_rows(prepared / "test-images.npy", test.images, test.rows)
    write_array(prepared / "test-labels.npy", test.labels)

    development_images, test_images = (_mapped(prepared / f"{name}-images.npy") for name in ("development", "test"))
    train_images = development_images[: len(train.rows)]
    packed = {
        "train": (train_images, train.labels),
        "validation": (development_images[len(train.rows) :], validation.labels),
        "test": (test_images, test.labels),
    }
    report = _report(packed, class_names, findings)
    report.save(prepared / "data_report.json")
    mean, std = _channel_statistics(train_images)
    height, width, channels = train_images.shape[1:]
    manifest = Manifest(
        source=params.source,
        source_digest=raw_source.digest,
        class_names=class_names,
        image_shape=(height, width, channels),
        counts={split: len(part.rows) for split, part in parts.items()},
        mean=mean,
        std=std,
    )
    manifest.save(prepared / "manifest.json")
    return manifest, report


def _published(params: DataParams, raw: Path, raw_source: RawSource) -> _Parts:
    """Test images as published, validation images chosen by the seed."""
    arrays = {name: np.load(raw / name, mmap_mode="r", allow_pickle=False) for name in raw_source.files}
    images, labels = arrays["train-images.npy"], arrays["train-labels.npy"]
    chosen = stratified_choice(labels, params.validation, params.seed, raw_source.class_names, "data.validation")
    of_split: dict[Split, NDArray[np.int64]] = {
        "train": np.flatnonzero(~chosen),
        "validation": np.flatnonzero(chosen),
    }
    parts = {split: _Part(images, rows, labels[rows]) for split, rows in of_split.items()}
    test_labels = arrays["test-labels.npy"]
    return {**parts, "test": _Part(arrays["test-images.npy"], np.arange(len(test_labels)), test_labels)}


def _of_files(
    source: FilesSource, params: DataParams, table: pd.DataFrame, class_names: tuple[str, ...], state: Path, say: Say
) -> tuple[_Parts, tuple[DataFinding, ...]]:
    gate.refuse_unusable(table, params)  # as far as headers tell, before anything is decoded
    readable = table[table["problem"] == ""]
    conversion = Conversion(params.image_size, _channels(readable, params), params.resize)
    decoded = DecodedImages(state, conversion)
    with source.storage() as storage:
        decoded.add(storage, readable["path"].tolist(), readable["sha256"].tolist(), say)
    found = table["sha256"].map(decoded.problems).fillna("")
    table = table.assign(problem=table["problem"].where(table["problem"] != "", found))
    gate.refuse_unusable(table, params)

    usable = table[table["problem"] == ""]
    splits = _splits(usable, params, class_names)
    findings = gate.check(table, splits, class_names, params)
    rows, labels, images = decoded.rows(usable["sha256"].tolist()), usable["label"].to_numpy(np.int64), decoded.pixels
    parts: _Parts = {}
    for split in _SPLITS:
        chosen = (splits == split).to_numpy()
        parts[split] = _Part(images, rows[chosen], labels[chosen])
    return parts, findings


def _channels(readable: pd.DataFrame, params: DataParams) -> Literal[1, 3]:
    if params.channels == "auto":
        return 1 if readable["grey"].all() else 3
    return params.channels


def _splits(usable: pd.DataFrame, params: DataParams, class_names: tuple[str, ...]) -> "pd.Series[str]":
    """Of each row: as given, what is not given chosen by the seed. Copies and groups stay together."""
    splits = usable["split"].replace("", "train")
    units = units_of(usable["sha256"].tolist(), usable["group"].tolist())
    for split, share in (("test", params.test), ("validation", params.validation)):
        if not (splits == split).any():
            among = np.flatnonzero(splits == "train")
            labels = usable["label"].to_numpy(np.int64)[among]
            _, of_them = np.unique(units[among], return_inverse=True)
            chosen = stratified_choice(labels, share, params.seed, class_names, f"data.{split}", of_them)
            splits.iloc[among[chosen]] = split
    return splits


def _write_rows(path: Path, images: Images, rows: NDArray[np.int64]) -> None:
    """`images[rows]` as .npy, the same bytes as np.save's, without a copy of all images in memory."""
    shape = (len(rows), *images.shape[1:])
    header = {"descr": np.lib.format.dtype_to_descr(images.dtype), "fortran_order": False, "shape": shape}
    at_once = max(1, _CHUNK_BYTES // images[0].nbytes)
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(rows), at_once):
            file.write(images[rows[start : start + at_once]].tobytes())


def _mapped(path: Path) -> Images:
    images: Images = np.load(path, mmap_mode="r", allow_pickle=False)
    return images


def _chunks(images: Images) -> Iterator[slice]:
    size = max(1, _CHUNK_BYTES // images[0].nbytes)
    return (slice(start, start + size) for start in range(0, len(images), size))


def _channel_statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, exact whatever the number of images."""
    total = np.zeros(images.shape[-1], np.float64)
    squares = np.zeros(images.shape[-1], np.float64)
    for chunk in _chunks(images):
        for channel in range(images.shape[-1]):
            histogram = np.bincount(images[chunk, ..., channel].reshape(-1), minlength=256)
            total[channel] += histogram @ np.arange(256)
            squares[channel] += histogram @ np.arange(256) ** 2
    count = images[..., 0].size
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return tuple(mean.tolist()), tuple(np.maximum(std, 1.0).tolist())  # a constant channel must not divide by 0


def _report(
    splits: dict[str, tuple[Images, Labels]], class_names: tuple[str, ...], findings: tuple[DataFinding, ...]
) -> DataReport:
    first_seen: dict[str, tuple[Digests, NDArray[np.int64]]] = {}
    within: dict[str, int] = {}
    across: dict[str, int] = {}
    examples: list[tuple[str, int, str, int]] = []
    for name, (images, _) in splits.items():
        digests = _digests(images)
        for earlier, (seen, first) in first_seen.items():
            position = np.searchsorted(seen, digests).clip(max=len(seen) - 1)
            shared = np.flatnonzero(seen[position] == digests)
            across[f"{earlier}-{name}"] = len(shared)
            examples += [(earlier, int(first[position[here]]), name, int(here)) for here in shared[:_MAX_EXAMPLES]]
        first_seen[name] = np.unique(digests, return_index=True)
        within[name] = len(digests) - len(first_seen[name][0])
    return DataReport(
        images_per_class={
            name: dict(zip(class_names, np.bincount(labels, minlength=len(class_names)).tolist(), strict=True))
            for name, (_, labels) in splits.items()
        },
        duplicates_within=within,
        duplicates_across=across,
        examples=tuple(examples[:_MAX_EXAMPLES]),
        findings=findings,
    )


def _digests(images: Images) -> Digests:
    """(N,): equal where the images are, 16 bytes instead of each image's own."""
    flat = np.asarray(images).reshape(len(images), -1)
    return np.fromiter(
        (blake2b(image.data, digest_size=_DIGEST_BYTES).digest() for image in flat), f"S{_DIGEST_BYTES}", len(flat)
    )
