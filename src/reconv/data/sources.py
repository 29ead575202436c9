"""Name or path -> verified raw images in data/raw. Called by the stage `fetch`.

A published set becomes four arrays (train and test, images and labels), the same bytes wherever it came from. Files of
images stay where they are, or are copied from where a URL leads: data/raw then lists them with their SHA-256. To add a
data set, add a row to SOURCES and its name to `spec.PUBLISHED`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reconv.artifacts import RawSource, SkippedFiles
from reconv.data import gate
from reconv.data.files import LISTED, FilesSource
from reconv.data.idx import IdxSource
from reconv.data.remote import is_url
from reconv.data.skipped import grouped
from reconv.data.spec import parse_source
from reconv.data.torchvision_sets import TorchvisionSource
from reconv.errors import DataError
from reconv.files import sha256_of_file, write_array, write_parquet
from reconv.params import PLAIN_COLUMNS, ColumnsParams
from reconv.places import STATE, from_project

Say = Callable[[str], None]


class PublishedSource(Protocol):
    def fetch(self, raw: Path, say: Say) -> tuple[tuple[str, ...], dict[str, NDArray[np.generic]]]:
        """Class names, and the files of data/raw: name -> array.

        Raises:
            DataError: the images cannot be had, or are not the published ones.
        """


_FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

SOURCES: dict[str, PublishedSource] = {
    "fashion-mnist": IdxSource(
        torchvision_name="FashionMNIST",
        debian_package="dataset-fashion-mnist",
        class_names=_FASHION_CLASSES,
        shapes=((60_000, 28, 28), (10_000, 28, 28)),
        sha256={
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    ),
    "mnist": TorchvisionSource("MNIST"),
    "kmnist": TorchvisionSource("KMNIST"),
    "emnist": TorchvisionSource("EMNIST", split="balanced", transposed=True),
    "cifar10": TorchvisionSource("CIFAR10"),
    "cifar100": TorchvisionSource("CIFAR100"),
    "svhn": TorchvisionSource("SVHN", has_split_names=True),
}


def source_of(
    spec: str, group: str | None, columns: ColumnsParams = PLAIN_COLUMNS, state: Path = STATE
) -> PublishedSource | FilesSource:
    """Return the source that `data.source` names; `group` and `columns` are data.group and data.columns, `state` is the
    folder for what may be made again.

    Raises:
        ParamsError: no such name, or a URL that cannot be used.
    """
    files = parse_source(spec, SOURCES)
    if files is None:
        return SOURCES[spec]
    kind, location = files
    found = location if is_url(location) else str(from_project(Path(location)))
    return FilesSource(kind, found, group, state, columns)


def fetch(
    spec: str,
    group: str | None,
    raw: Path,
    say: Say,
    refuse: gate.Refuse = gate.refuse,
    columns: ColumnsParams = PLAIN_COLUMNS,
) -> RawSource:
    """Make data/raw hold the images that `spec` names; what is there already and intact is kept. `refuse` is told of
    classes without an image, and of what was read leniently.

    Raises:
        DataError: data/raw was altered, or the images cannot be had.
    """
    source = source_of(spec, group, columns)
    index = raw / "source.json"
    if isinstance(source, FilesSource):
        listing, table = source.list_files(refuse)
        say(f"{len(table):,} images of {len(listing.class_names)} classes in {source.location}")
        for text in listing.remarks:
            say(text)
        refuse([gate.remark("read leniently", "warning", text) for text in listing.remarks])
        skipped = grouped(listing.skipped)
        if listing.empty_folders:
            say(gate.in_words(gate.without_files(listing.empty_folders)))
        if skipped:
            say(gate.in_words(gate.skipped_files(skipped)))
        return _write(spec, raw, listing.class_names, {LISTED: table}, listing.empty_folders, skipped)
    if index.exists():
        present = RawSource.load(index)
        if present.source == spec:
            verify_raw(present, raw)
            say(f"{spec}: already in {raw}, checksums match")
            return present
    index.unlink(missing_ok=True)
    return _write(spec, raw, *source.fetch(raw, say))


def _write(
    spec: str,
    raw: Path,
    class_names: tuple[str, ...],
    files: Mapping[str, NDArray[np.generic] | pd.DataFrame],
    empty_folders: tuple[str, ...] = (),
    skipped: tuple[SkippedFiles, ...] = (),
) -> RawSource:
    """The files, and last the index of them; what lies there from before goes."""
    (raw / "source.json").unlink(missing_ok=True)
    for name, content in files.items():
        if isinstance(content, pd.DataFrame):
            write_parquet(raw / name, content)
        else:
            write_array(raw / name, content)
    for stale in set(raw.iterdir()) - {raw / name for name in files}:
        if stale.name != ".gitignore" and stale.is_file():
            stale.unlink()
    fetched = RawSource(
        source=spec,
        class_names=class_names,
        files={name: sha256_of_file(raw / name) for name in sorted(files)},
        empty_folders=empty_folders,
        skipped=skipped,
    )
    fetched.save(raw / "source.json")
    return fetched


def verify_raw(raw_source: RawSource, raw: Path) -> None:
    """Raises DataError for a file of data/raw that is missing or not what was fetched."""
    for name, expected in raw_source.files.items():
        path = raw / name
        actual = sha256_of_file(path) if path.exists() else "no file"
        if actual != expected:
            raise DataError(
                f"{path} is not the file that was fetched (SHA-256 {actual[:12]}… instead of {expected[:12]}…).\n"
                f"Delete {raw} and run again to fetch it anew, or set data.source to your own copy."
            )
