"""Image files with what is known of them before any is decoded. Made by `fetch`, from a folder, an archive or a table.

N files.
"""

from dataclasses import dataclass, field, replace
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from reconv.data.skipped import Skipped

SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Common names of a split, in lower case -> the split."""


@dataclass(frozen=True)
class Listing:
    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    """(N,), as the following."""
    splits: tuple[str, ...]
    """train, validation or test; empty where `prepare` has to choose."""
    groups: tuple[str, ...]
    """Images of one group stay in one split; empty where it has none."""
    empty_folders: tuple[str, ...] = ()
    """Folders beside the classes that hold no file."""
    remarks: tuple[str, ...] = ()
    """Remarks for the user on how unusual values were read."""
    skipped: Skipped = field(default_factory=dict)

    @property
    def without_images(self) -> list[str]:
        """Classes that have files, but no image."""
        found = {*self.labels.tolist()}
        return [name for number, name in enumerate(self.class_names) if number not in found]

    def without(self, skipped: Skipped) -> "Listing":
        """Return a listing that lacks these files, and says why."""
        if not skipped:
            return self
        kept = np.array([path not in skipped for path in self.paths])
        paths, splits, groups = (tuple(compress(of, kept)) for of in (self.paths, self.splits, self.groups))
        return replace(
            self,
            paths=paths,
            labels=self.labels[kept],
            splits=splits,
            groups=groups,
            skipped={**self.skipped, **skipped},
        )
