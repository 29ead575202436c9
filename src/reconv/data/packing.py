"""data/raw -> packed arrays, a split fixed once, and a report on the images. Called by the stage `prepare`.

Development images (training, then validation) lie in one file, so that "training and validation together" is a view of
the same mapped memory, as each of the two is.
"""

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reconv.artifacts import DataReport, Manifest, RawSource
from reconv.data.decoding import decode_all
from reconv.data.folder import FolderSource
from reconv.data.sources import source_of, verify_raw
from reconv.errors import DataError
from reconv.files import atomic, clear_dir, write_array
from reconv.params import DataParams

_CHUNK_BYTES = 8 * 2**20  # of images that are in memory at once
_DIGEST_BYTES = 16
_MAX_EXAMPLES = 50

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Digests = NDArray[np.bytes_]


def prepare(params: DataParams, raw: Path, prepared: Path) -> tuple[Manifest, DataReport]:
    """Write the packed arrays, data_report.json and, last, manifest.json.

    Raises:
        DataError: raw files were altered, images cannot be decoded, or a class is too small for the split.
    """
    raw_source = RawSource.load(raw / "source.json")
    if raw_source.source != params.source:
        raise DataError(f"{raw} holds {raw_source.source}, data.source names {params.source}: run `dvc repro fetch`.")
    verify_raw(raw_source, raw)
    development, test = _published_or_split(params, raw, raw_source)
    is_validation = stratified_choice(
        development[1], params.validation, params.seed, raw_source.class_names, "data.validation"
    )
    order = np.concatenate([np.flatnonzero(~is_validation), np.flatnonzero(is_validation)])
    num_train = int((~is_validation).sum())
    labels = development[1][order]

    clear_dir(prepared)
    _write_in_order(prepared / "development-images.npy", development[0], order)
    write_array(prepared / "development-labels.npy", labels)
    write_array(prepared / "test-images.npy", test[0])
    write_array(prepared / "test-labels.npy", test[1])
    images = np.load(prepared / "development-images.npy", mmap_mode="r", allow_pickle=False)
    report = _report(
        {
            "train": (images[:num_train], labels[:num_train]),
            "validation": (images[num_train:], labels[num_train:]),
            "test": test,
        },
        raw_source.class_names,
    )
    report.save(prepared / "data_report.json")
    mean, std = _channel_statistics(images[:num_train])
    height, width, channels = images.shape[1:]
    manifest = Manifest(
        source=params.source,
        source_digest=raw_source.digest,
        class_names=raw_source.class_names,
        image_shape=(height, width, channels),
        counts={"train": num_train, "validation": len(images) - num_train, "test": len(test[0])},
        mean=mean,
        std=std,
    )
    manifest.save(prepared / "manifest.json")
    return manifest, report


def _published_or_split(
    params: DataParams, raw: Path, raw_source: RawSource
) -> tuple[tuple[Images, Labels], tuple[Images, Labels]]:
    """Development and test images with labels: as published, or (of a folder) chosen by the seed."""
    source = source_of(params.source)
    if not isinstance(source, FolderSource):
        arrays = {name: np.load(raw / name, mmap_mode="r", allow_pickle=False) for name in raw_source.files}
        return (
            (arrays["train-images.npy"], arrays["train-labels.npy"]),
            (arrays["test-images.npy"], arrays["test-labels.npy"]),
        )
    paths = np.load(raw / "paths.npy", allow_pickle=False).tolist()
    sums = np.load(raw / "sha256.npy", allow_pickle=False).tolist()
    labels = np.load(raw / "labels.npy", allow_pickle=False)
    is_test = stratified_choice(labels, params.test, params.seed, raw_source.class_names, "data.test")
    images = decode_all(source.root, paths, sums, params.image_size, params.channels)
    return (images[~is_test], labels[~is_test]), (images[is_test], labels[is_test])


def stratified_choice(
    labels: Labels, share: float, seed: int, class_names: tuple[str, ...], key: str
) -> NDArray[np.bool_]:
    """A mask (N,) that chooses `share` of each class, at least one image and never all of them.

    Raises:
        DataError: a class has fewer than two images.
    """
    chosen = np.zeros(len(labels), bool)
    rng = np.random.default_rng(seed)
    for label, class_name in enumerate(class_names):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise DataError(
                f'class "{class_name}" has {len(members)} images left, must have at least 2 to be split by {key} '
                f"({share}): add images or remove the class."
            )
        count = min(max(1, round(share * len(members))), len(members) - 1)
        chosen[rng.permutation(members)[:count]] = True
    return chosen


def _write_in_order(path: Path, images: Images, order: NDArray[np.int64]) -> None:
    """`images[order]` as .npy, the same bytes as np.save's, without a copy of all images in memory."""
    header = {"descr": np.lib.format.dtype_to_descr(images.dtype), "fortran_order": False, "shape": images.shape}
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in _chunks(images):
            file.write(images[order[chunk]].tobytes())


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


def _report(splits: dict[str, tuple[Images, Labels]], class_names: tuple[str, ...]) -> DataReport:
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
    )


def _digests(images: Images) -> Digests:
    """(N,): equal where the images are, 16 bytes instead of each image's own."""
    flat = np.asarray(images).reshape(len(images), -1)
    return np.fromiter(
        (blake2b(image.data, digest_size=_DIGEST_BYTES).digest() for image in flat), f"S{_DIGEST_BYTES}", len(flat)
    )
