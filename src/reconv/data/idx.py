"""Sets published as IDX files (the format of MNIST), found on this machine or on a mirror that it can reach."""

import gzip
import hashlib
import socket
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reconv.errors import DataError

SYSTEM_DATASETS = Path("/usr/share/datasets")
_MIRROR_TIMEOUT_SECONDS = 20
_IDX_UINT8 = 0x08


@dataclass(frozen=True)
class IdxSource:
    """Four files: images and labels of the training and of the test images.

    `sha256` is that of each file's decompressed content, since mirrors compress anew; its order is that of the arrays.
    """

    torchvision_name: str
    debian_package: str
    class_names: tuple[str, ...]
    shapes: tuple[tuple[int, int, int], tuple[int, int, int]]
    sha256: dict[str, str]

    def fetch(self, raw: Path, say: Callable[[str], None]) -> tuple[tuple[str, ...], dict[str, NDArray[np.generic]]]:
        """Take the files from the first place that has them intact: data/raw, this machine, torchvision, apt."""
        system = SYSTEM_DATASETS / self.debian_package.removeprefix("dataset-")
        failures: list[str] = []
        with tempfile.TemporaryDirectory(prefix="reconv-fetch-") as folder:
            scratch = Path(folder)
            places: list[tuple[str, Callable[[], Path]]] = [
                (f"files put into {raw} by hand", lambda: raw),
                (f"this machine ({system})", lambda: system),
                ("torchvision's download", lambda: self._download(scratch)),
                (f"apt-get download {self.debian_package}", lambda: self._from_debian(scratch)),
            ]
            for place, locate in places:
                try:
                    arrays = self._read(locate())
                except (DataError, OSError) as error:
                    failures.append(f"{place}: {error}")
                else:
                    say(f"from {place}, checksums match")
                    return self.class_names, arrays
        raise DataError(
            "the images cannot be had:\n" + "\n".join(f"  - {failure}" for failure in failures) + "\n"
            f"Remedies: install the Debian package {self.debian_package}; or run on a machine with internet access; or "
            f"put {', '.join(self.sha256)} (each may end in .gz) into {raw}."
        )

    def _read(self, folder: Path) -> dict[str, NDArray[np.generic]]:
        """The four arrays: images (N, height, width, 1) uint8, labels (N,) int64."""
        contents = [self._verified(folder, name) for name in self.sha256]
        arrays: dict[str, NDArray[np.generic]] = {}
        for split, shape, images, labels in (
            ("train", self.shapes[0], contents[0], contents[1]),
            ("test", self.shapes[1], contents[2], contents[3]),
        ):
            arrays[f"{split}-images.npy"] = parse_idx(images, shape)[..., None]
            parsed = parse_idx(labels, shape[:1]).astype(np.int64)
            if parsed.max() >= len(self.class_names):
                raise DataError(f"a {split} label is {parsed.max()}, must be below {len(self.class_names)}")
            arrays[f"{split}-labels.npy"] = parsed
        return arrays

    def _verified(self, folder: Path, name: str) -> bytes:
        plain, packed = folder / name, folder / f"{name}.gz"
        try:
            content = gzip.decompress(packed.read_bytes()) if packed.exists() else plain.read_bytes()
        except FileNotFoundError:
            raise DataError(f"{name} is not there") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{packed} is damaged ({error})") from None
        actual = hashlib.sha256(content).hexdigest()
        if actual != self.sha256[name]:
            raise DataError(
                f"{packed if packed.exists() else plain} is not the published file "
                f"(SHA-256 of its content {actual[:12]}… instead of {self.sha256[name][:12]}…)"
            )
        return content

    def _download(self, scratch: Path) -> Path:
        from torchvision import datasets  # imports torch: only where nothing nearer has the files

        with _short_timeout():
            try:
                getattr(datasets, self.torchvision_name)(root=str(scratch), train=True, download=True)
            except (RuntimeError, OSError) as error:
                raise DataError(_first_line(error)) from None
        return scratch / self.torchvision_name / "raw"

    def _from_debian(self, scratch: Path) -> Path:
        """Download and unpack the package without root, with package lists of its own."""
        for name in ("lists/partial", "cache/archives/partial", "unpacked"):
            (scratch / name).mkdir(parents=True)
        own = ["-o", f"Dir::State::Lists={scratch}/lists", "-o", f"Dir::Cache={scratch}/cache"]
        quiet = ["-o", "APT::Sandbox::User=", "-qq"]
        _run(["apt-get", *own, *quiet, "update"], scratch)
        _run(["apt-get", *own, *quiet, "download", self.debian_package], scratch)
        package = next(scratch.glob(f"{self.debian_package}_*.deb"), None)
        if package is None:
            raise DataError("no package was downloaded")
        _run(["dpkg-deb", "-x", str(package), str(scratch / "unpacked")], scratch)
        return scratch / "unpacked" / (SYSTEM_DATASETS / self.debian_package.removeprefix("dataset-")).relative_to("/")


def parse_idx(content: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """IDX bytes (http://yann.lecun.com/exdb/mnist/) as an array of `shape`.

    Raises:
        DataError: not IDX of unsigned bytes, truncated, or of another shape.
    """
    header = 4 + 4 * len(shape)
    if len(content) < header or content[2] != _IDX_UINT8 or content[3] != len(shape):
        raise DataError(f"not an IDX file of {len(shape)} dimensions of unsigned bytes")
    actual = tuple(np.frombuffer(content, ">u4", count=len(shape), offset=4).tolist())
    if actual != shape or len(content) != header + int(np.prod(shape)):
        raise DataError(f"holds {len(content) - header} values for shape {actual}, must be {shape}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


@contextmanager
def _short_timeout() -> Iterator[None]:
    """A mirror that does not answer must not hold up the next place."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_MIRROR_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _run(command: list[str], cwd: Path) -> None:
    try:
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        raise DataError(f"{command[0]} is not on this machine") from None
    except subprocess.TimeoutExpired:
        raise DataError(f"{command[0]} did not answer within 120 s") from None
    except subprocess.CalledProcessError as error:
        raise DataError(f"{command[0]} failed: {_first_line(error.stderr)}") from None


def _first_line(message: object) -> str:
    return next(iter(str(message).strip().splitlines()), "no reason given")
