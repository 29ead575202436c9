"""The packed arrays of data/prepared, mapped: every process of a machine shares the same memory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconv.artifacts import DataReport, Manifest
from reconv.errors import DataError
from reconv.places import PREPARED


@dataclass(frozen=True)
class Split:
    images: NDArray[np.uint8]
    """(N, height, width, channels)."""
    labels: NDArray[np.int64]
    """(N,)."""

    def __len__(self) -> int:
        return len(self.labels)

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
        self._maps: dict[str, NDArray[Any]] = {}

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

    def _view(self, name: str, start: int, stop: int | None) -> Split:
        counts = self.manifest.counts
        expected = counts["test"] if name == "test" else counts["train"] + counts["validation"]
        images: NDArray[np.uint8] = self._map(f"{name}-images.npy", (expected, *self.manifest.image_shape), np.uint8)
        labels: NDArray[np.int64] = self._map(f"{name}-labels.npy", (expected,), np.int64)
        return Split(images[start:stop], labels[start:stop])

    def _map(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
        if name in self._maps:
            return self._maps[name]
        path = self.folder / name
        try:
            # "c": private pages if written to, so that torch takes the array as it is; it never is.
            array: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
        except (OSError, EOFError, ValueError) as error:
            raise DataError(f"{path} cannot be mapped ({error}): run `dvc repro --force prepare`.") from None
        if array.shape != shape or array.dtype != dtype:
            raise DataError(
                f"{path} is {array.dtype} {array.shape}, must be {np.dtype(dtype)} {shape}: "
                "run `dvc repro --force prepare`."
            )
        self._maps[name] = array
        return array
