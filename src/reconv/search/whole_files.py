"""The local file system for Ray Tune, which writes files in place: of a killed driver, half a state would be left."""

import io
from pathlib import Path
from typing import Any
from uuid import uuid4

from fsspec.implementations.local import LocalFileSystem

from reconv.files import put


class WholeFiles(LocalFileSystem):  # type: ignore[misc]
    """Where a file that is written replaces the one before it when it is closed."""

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> Any:
        if mode == "wb":
            return _Replacing(self._strip_protocol(path))
        return super()._open(path, mode, block_size, **options)


class _Replacing(io.FileIO):
    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._temporary = Path(f"{path}.{uuid4().hex}")
        self._failed = False
        super().__init__(self._temporary, "w")

    def write(self, content: Any) -> int:
        """All of it: a full disk takes a part of what is written unbuffered."""
        left = memoryview(content)
        try:
            while left:
                left = left[super().write(left) :]
        except OSError:
            self._failed = True
            raise
        return len(content)

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        if self._failed:
            self._temporary.unlink()
        else:
            put(self._temporary, self._path)
