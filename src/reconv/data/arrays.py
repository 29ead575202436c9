"""The packed arrays of data/prepared, mapped: every process of a machine shares the same memory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconv.artifacts import DataReport, Manifest
from reconv.data.shards import AnyImages, PackedImages, map_images, mapped
from reconv.errors import DataError
from reconv.places import PREPARED


@dataclass(frozen=True)
class Split:
    images: AnyImages
    """(N, height, width, channels)."""
    labels: NDArray[np.int64]
    """(N,)."""

    def __len__(self) -> int:
        return len(self.labels)

    def between(self, start: int, stop: int) -> "Split":
        """Those from `start` to before `stop`, as views."""
        images = self.images
        chosen = images.between(start, stop) if isinstance(images, PackedImages) else images[start:stop]
        return Split(chosen, self.labels[start:stop])

    def share(self, share: float) -> "Split":
        """Those of `indices_of_share`; all of it is the split itself, less is a copy."""
        if share == 1:
            return self
        index = self.indices_of_share(share)
        return Split(self.images[index], self.labels[index])

    def indices_of_share(self, share: float) -> NDArray[np.int64]:
        """Of that share (0 to 1) of each class, at least one image of it, evenly spaced."""
        chosen = []
        for label in np.unique(self.labels):
            of_class = np.flatnonzero(self.labels == label)
            chosen.append(of_class[(np.arange(max(1, round(share * len(of_class)))) / share).astype(np.int64)])
        return np.sort(np.concatenate(chosen))


class PreparedData:
    """Views of data/prepared; opening reads the manifest, images are read when they are used.

    Raises:
        DataError: the folder is incomplete, or an array does not have the shape that the manifest says.
    """

    def __init__(self, folder: Path = PREPARED) -> None:
        self.folder = folder.resolve()
        self.manifest = Manifest.load(folder / "manifest.json")
        self.report = DataReport.load(folder / "data_report.json")
        self._mapped: dict[str, Split] = {}  # by the name of their files

    @property
    def train(self) -> Split:
        return self._view("development", 0, self.manifest.counts["train"])

    @property
    def validation(self) -> Split:
        return self._view("development", self.manifest.counts["train"], None)

    @property
    def development(self) -> Split:
        """Training and validation images together."""
        return self._view("development", 0, None)

    @property
    def test(self) -> Split:
        """Only evaluate and study may read it."""
        return self._view("test", 0, None)

    def names(self, split: str, indices: NDArray[np.int64]) -> list[str]:
        """Of the files, as the source names them; where there were no files, split and index."""
        start = self.manifest.counts["train"] if split == "validation" else 0
        path = self.folder / f"{'test' if split == 'test' else 'development'}-names.parquet"
        if not path.exists():
            return [f"{split}/{index}" for index in indices]
        import pandas as pd

        names: list[str] = pd.read_parquet(path)["path"].iloc[start + indices].tolist()
        return names

    def array(self, file: str, dtype: type[np.generic]) -> NDArray[Any]:
        """The array of one of its files."""
        return mapped(self.folder / file, dtype)

    def _images(self, file: str) -> NDArray[np.uint8]:
        return self.array(file, np.uint8)

    def _view(self, name: str, start: int, stop: int | None) -> Split:
        counts, shape = self.manifest.counts, self.manifest.image_shape
        count = counts["test"] if name == "test" else counts["train"] + counts["validation"]
        if name not in self._mapped:
            labels = self.array(f"{name}-labels.npy", np.int64)
            if labels.shape != (count,):
                raise DataError(
                    f"{name}-labels.npy is {labels.shape}, must be {(count,)}: run `dvc repro --force prepare`."
                )
            self._mapped[name] = Split(map_images(self._images, name, count, shape), labels)
        whole = self._mapped[name]
        stop = count if stop is None else stop
        return whole.between(start, stop)
