"""data/raw -> packed arrays, a split fixed once, and a report on the images. Called by the stage `prepare`, and by
`reconv inspect`, which packs nothing.

Development images (training, then validation) lie in the same files, so that "training and validation together" is a
view of the same mapped memory, as each of the two is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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
from reconv.data.splitting import stratified_choice, units_of, units_per_class
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
    looked = examine(params, raw, state, say, decode)
    gate.refuse(looked.findings)
    found, splits = looked.found, looked.splits
    _write(prepared, found, splits, looked.findings)

    looked.report.save(prepared / "data_report.json")
    height, width, channels = found.shape
    mean, std = channel_statistics(found.fingerprints[(splits == "train").to_numpy()], height * width, channels)
    manifest = Manifest(
        source=params.source,
        source_digest=looked.raw_source.digest,
        class_names=looked.raw_source.class_names,
        image_shape=found.shape,
        counts=looked.counts,
        mean=mean,
        std=std,
        value_range=found.value_range,
    )
    manifest.save(prepared / "manifest.json")
    return manifest, looked.report


@dataclass(frozen=True)
class Examination:
    """Facts about the images before any is packed."""

    raw_source: RawSource
    found: Found
    splits: "pd.Series[str]"
    """The split of each usable image."""
    findings: tuple[DataFinding, ...]
    """Errors included."""

    @property
    def counts(self) -> dict[Split, int]:
        return {split: int((self.splits == split).sum()) for split in _SPLITS}

    @property
    def report(self) -> DataReport:
        per_class = _counts(self.found.known["label"], self.splits, self.raw_source.class_names)
        return DataReport(images_per_class=per_class, findings=self.findings)


def examine(
    params: DataParams,
    raw: Path,
    state: Path,
    say: Say,
    decode: DecodeChunks = decode_locally,
    refuse: gate.Refuse = gate.refuse,
) -> Examination:
    """Decode the images, split them and look at both. `refuse` is told of files that cannot be used, some before hours
    of decoding.

    Raises:
        DataError: raw files were altered, or `refuse` stops it.
    """
    raw_source = RawSource.load(raw / "source.json")
    if raw_source.source != params.source:
        raise DataError(f"{raw} holds {raw_source.source}, data.source names {params.source}: run `dvc repro fetch`.")
    verify_raw(raw_source, raw)
    source, class_names = source_of(params.source, params.group), raw_source.class_names
    if isinstance(source, FilesSource):
        found = decoded_files(source, params, raw, state, decode, say, refuse)
    else:
        found = published(raw, raw_source, params.seed)
    labels = found.known["label"].to_numpy(np.int64)
    near, alike = taken_for_copies(_near(found), labels)
    splits, too_small = _splits(found, near, params, class_names)
    alike_classes = tuple(class_names[label] for label in alike)
    examined = _examined(found, near, alike_classes, splits, raw_source, too_small)
    return Examination(raw_source, found, splits, (*gate.check(examined, params), *found.findings))


def _near(found: Found) -> Pairs:
    """Pairs of images that look alike, of each content its first image."""
    _, first = np.unique(found.fingerprints["digest"], return_index=True)
    pairs = near_pairs(found.fingerprints["hash"][first], found.images, found.rows[first])
    return np.sort(first[pairs], axis=1)


def _splits(
    found: Found, near: Pairs, params: DataParams, class_names: tuple[str, ...]
) -> tuple["pd.Series[str]", dict[str, dict[str, int]]]:
    """Of each image: as given; what is not given is chosen by rank. Copies, images that look alike and groups of files
    stay together. Also returns the classes that cannot be split: key of params.yaml -> class -> units."""
    too_small: dict[str, dict[str, int]] = {}
    splits = found.known["split"].replace("", "train")
    units = np.arange(len(splits))
    if not found.is_published:
        units = units_of([_numbered(found.fingerprints["digest"]), _codes(found.known["group"])], near)
    for split, share in (("test", params.test), ("validation", params.validation)):
        if not (splits == split).any():
            among = np.flatnonzero(splits == "train")
            labels = found.known["label"].to_numpy(np.int64)[among]
            of_them = _numbered(units[among])
            per_class = zip(class_names, units_per_class(labels, of_them, len(class_names)).tolist(), strict=True)
            said_before = {name for classes in too_small.values() for name in classes} | _without_a_file(
                found, class_names
            )
            few = {name: count for name, count in per_class if count < 2 and name not in said_before}
            too_small |= {f"data.{split} ({share})": few} if few else {}
            splits.iloc[among[stratified_choice(labels, share, found.ranks[among], of_them)]] = split
    return splits, too_small


def _examined(
    found: Found,
    near: Pairs,
    alike_classes: tuple[str, ...],
    splits: "pd.Series[str]",
    raw_source: RawSource,
    too_small: Mapping[str, Mapping[str, int]],
) -> Examined:
    class_names = raw_source.class_names
    absent = _without_a_file(found, class_names)
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
    return Examined(
        found.files,
        images,
        near,
        alike_classes,
        tuple(name for name in class_names if name not in absent),
        has_splits,
        found.is_published,
        empty_folders=raw_source.empty_folders,
        skipped=raw_source.skipped,
        too_small=too_small,
    )


def _without_a_file(found: Found, class_names: tuple[str, ...]) -> set[str]:
    """Return the classes without any file, which `fetch` has refused already."""
    if found.is_published:
        return set()
    return set(class_names) - {class_names[label] for label in found.files["label"].unique()}


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
