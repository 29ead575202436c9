"""data/raw -> packed arrays, a split fixed once, and a report on the images. Called by the stage `prepare`.

Development images (training, then validation) lie in the same files, so that "training and validation together" is a
view of the same mapped memory, as each of the two is.
"""

from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reconv.artifacts import DataFinding, DataReport, Manifest, RawSource, Split
from reconv.data import gate
from reconv.data.decoded import Say
from reconv.data.decoders import DecodeChunks, decode_locally
from reconv.data.files import FilesSource
from reconv.data.fingerprints import channel_statistics, means_and_deviation
from reconv.data.found import Found, decoded_files, published
from reconv.data.gate.examined import Examined
from reconv.data.near import Pairs, near_pairs, taken_for_copies
from reconv.data.shards import write_images
from reconv.data.sources import source_of, verify_raw
from reconv.data.splitting import stratified_choice, units_of
from reconv.errors import DataError
from reconv.files import clear_dir, write_array, write_arrays, write_parquet
from reconv.params import DataParams

_FINDINGS = "findings.npz"
_SPLITS: tuple[Split, ...] = get_args(Split)
_ARRAYS: dict[str, tuple[Split, ...]] = {"development": ("train", "validation"), "test": ("test",)}
_PICTURE_SIDE = 64


def prepare(
    params: DataParams, raw: Path, prepared: Path, state: Path, say: Say, decode: DecodeChunks = decode_locally
) -> tuple[Manifest, DataReport]:
    """Write the packed arrays, the report and, last, manifest.json. What was decoded stays in `state`, which may be
    deleted; `say` is told how many of how many are.

    Raises:
        DataError: raw files were altered, the gate found what may not be, or a class is too small for the split.
    """
    raw_source = RawSource.load(raw / "source.json")
    if raw_source.source != params.source:
        raise DataError(f"{raw} holds {raw_source.source}, data.source names {params.source}: run `dvc repro fetch`.")
    verify_raw(raw_source, raw)
    source, class_names = source_of(params.source, params.group), raw_source.class_names
    if isinstance(source, FilesSource):
        found = decoded_files(source, params, raw, state, decode, say)
    else:
        found = published(raw, raw_source, params.seed)
    labels = found.known["label"].to_numpy(np.int64)
    near, alike = taken_for_copies(_near(found), labels)
    splits = _splits(found, near, params, class_names)
    alike_classes = tuple(class_names[label] for label in alike)
    findings = gate.check(_examined(found, near, alike_classes, splits, class_names), params)
    _write(prepared, found, splits, findings)

    report = DataReport(images_per_class=_counts(found.known["label"], splits, class_names), findings=findings)
    report.save(prepared / "data_report.json")
    height, width, channels = found.shape
    mean, std = channel_statistics(found.fingerprints[(splits == "train").to_numpy()], height * width, channels)
    manifest = Manifest(
        source=params.source,
        source_digest=raw_source.digest,
        class_names=class_names,
        image_shape=found.shape,
        counts={split: int((splits == split).sum()) for split in _SPLITS},
        mean=mean,
        std=std,
    )
    manifest.save(prepared / "manifest.json")
    return manifest, report


def _near(found: Found) -> Pairs:
    """Pairs of images that look alike, of each content its first image."""
    _, first = np.unique(found.fingerprints["digest"], return_index=True)
    pairs = near_pairs(found.fingerprints["hash"][first], found.images, found.rows[first])
    return np.sort(first[pairs], axis=1)


def _splits(found: Found, near: Pairs, params: DataParams, class_names: tuple[str, ...]) -> "pd.Series[str]":
    """Of each image: as given; what is not given is chosen by rank. Copies, images that look alike and groups of files
    stay together."""
    splits = found.known["split"].replace("", "train")
    units = np.arange(len(splits))
    if not found.is_published:
        units = units_of([_numbered(found.fingerprints["digest"]), _codes(found.known["group"])], near)
    for split, share in (("test", params.test), ("validation", params.validation)):
        if not (splits == split).any():
            among = np.flatnonzero(splits == "train")
            labels = found.known["label"].to_numpy(np.int64)[among]
            of_them = _numbered(units[among])
            chosen = stratified_choice(labels, share, found.ranks[among], class_names, f"data.{split}", of_them)
            splits.iloc[among[chosen]] = split
    return splits


def _examined(
    found: Found, near: Pairs, alike_classes: tuple[str, ...], splits: "pd.Series[str]", class_names: tuple[str, ...]
) -> Examined:
    height, width, channels = found.shape
    mean_NC, deviation = means_and_deviation(found.fingerprints, height * width, channels)
    images = found.known.drop(columns=["split", "label"]).assign(
        **{"class": np.array(class_names, dtype=object)[found.known["label"]]},
        split=splits,
        index=splits.groupby(splits).cumcount(),
        content=_numbered(found.fingerprints["digest"]),
        group=_codes(found.known["group"]),
        brightness=mean_NC.mean(axis=1),
        contrast=deviation,
        colourfulness=np.ptp(mean_NC, axis=1),
    )
    has_splits = bool((found.known["split"] != "").any())
    return Examined(found.files, images, near, alike_classes, class_names, has_splits, found.is_published)


def _numbered(values: NDArray[np.generic]) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = np.unique(values, return_inverse=True)[1]
    return numbers


def _codes(texts: "pd.Series[str]") -> NDArray[np.int64]:
    """-1 of an empty text."""
    codes: NDArray[np.int64] = pd.factorize(texts.where(texts != "", None))[0].astype(np.int64)
    return codes


def _counts(
    labels: "pd.Series[int]", splits: "pd.Series[str]", class_names: tuple[str, ...]
) -> dict[str, dict[str, int]]:
    """split -> class name -> images."""
    counts = {split: np.bincount(labels[splits == split], minlength=len(class_names)) for split in _SPLITS}
    return {split: dict(zip(class_names, of_split.tolist(), strict=True)) for split, of_split in counts.items()}


def _write(prepared: Path, found: Found, splits: "pd.Series[str]", findings: tuple[DataFinding, ...]) -> None:
    """The arrays, the names of the files where there are some, and the findings' pictures."""
    clear_dir(prepared)
    positions = {split: np.flatnonzero(splits == split) for split in _SPLITS}
    labels = found.known["label"].to_numpy(np.int64)
    for name, parts in _ARRAYS.items():
        of_it = np.concatenate([positions[part] for part in parts])
        write_images(prepared, name, found.images, found.rows[of_it], found.shape)
        write_array(prepared / f"{name}-labels.npy", labels[of_it])
        if not found.is_published:
            write_parquet(prepared / f"{name}-names.parquet", found.known[["path"]].iloc[of_it])
    pictures = {}
    for one in findings:
        if one.pictures:
            shown = np.array([positions[picture.split][picture.index] for picture in one.pictures])
            pictures[one.kind] = _shrunk(found.images[found.rows[shown]])
    write_arrays(prepared / _FINDINGS, pictures)


def _shrunk(images_NHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """By the mean of squares of pixels, to less than twice _PICTURE_SIDE a side."""
    num_images, height, width, channels = images_NHWC.shape
    side = max(1, min(height, width) // _PICTURE_SIDE)
    whole = images_NHWC[:, : height // side * side, : width // side * side]
    squares = whole.reshape(num_images, height // side, side, width // side, side, channels)
    shrunk: NDArray[np.uint8] = squares.mean(axis=(2, 4)).round().astype(np.uint8)
    return shrunk
