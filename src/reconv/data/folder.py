"""A folder with one sub-folder per class. fetch lists its files by content; prepare decodes exactly those."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reconv.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
MAX_FILE_BYTES = 200 * 2**20
MAX_PIXELS = 100 * 10**6


@dataclass(frozen=True)
class FolderSource:
    root: Path

    def fetch(self, raw: Path, say: Callable[[str], None]) -> tuple[tuple[str, ...], dict[str, NDArray[np.generic]]]:
        """Lists the images: relative path, class and SHA-256 of each."""
        raw.mkdir(parents=True, exist_ok=True)
        classes = self._classes()
        paths: list[str] = []
        labels: list[int] = []
        for label, folder in enumerate(classes):
            found = self._images(folder)
            if not found:
                raise DataError(
                    f"class folder {folder} holds no image ({', '.join(sorted(SUFFIXES))}): add some or remove it."
                )
            paths += [str(path.relative_to(self.root)) for path in found]
            labels += [label] * len(found)
        sums = [self._sha256(path) for path in paths]
        say(f"{len(paths):,} images of {len(classes)} classes in {self.root}")
        index = {
            "paths.npy": np.array(paths, dtype=np.str_),
            "sha256.npy": np.array(sums, dtype=np.str_),
            "labels.npy": np.array(labels, dtype=np.int64),
        }
        return tuple(folder.name for folder in classes), index

    def _classes(self) -> list[Path]:
        try:
            classes = sorted(path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))
        except OSError as error:
            raise DataError(
                f"data.source names the folder {self.root}, which cannot be read ({error.strerror}): "
                "correct the path in params.yaml or the folder's permissions."
            ) from None
        if len(classes) < 2:
            raise DataError(
                f"{self.root} has {len(classes)} class folders, must have at least 2: one sub-folder for each class."
            )
        return classes

    def _images(self, folder: Path) -> list[Path]:
        root = self.root.resolve()
        try:
            candidates = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
            images = [path for path in candidates if path.is_file() and not path.name.startswith(".")]
        except OSError as error:
            raise DataError(f"{folder} cannot be read ({error.strerror}): correct its permissions.") from None
        for path in images:
            if not path.resolve().is_relative_to(root):
                raise DataError(f"{path} links out of {self.root}: copy the image into the folder.")
        return images

    def _sha256(self, relative: str) -> str:
        return hashlib.sha256(read_image_bytes(self.root / relative)).hexdigest()


def read_image_bytes(path: Path) -> bytes:
    """Raises DataError for a file that cannot be read, is empty or above MAX_FILE_BYTES."""
    try:
        size = path.stat().st_size
        content = path.read_bytes() if 0 < size <= MAX_FILE_BYTES else b""
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): correct its permissions or remove it.") from None
    if not content:
        raise DataError(f"{path} has {size} bytes, must have 1 to {MAX_FILE_BYTES:,}: remove it.")
    return content
