import gzip
import hashlib
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torchvision import datasets

from reconv.data import idx
from reconv.data.idx import IdxSource, parse_idx
from reconv.errors import DataError

NAMES = ("train-images", "train-labels", "test-images", "test-labels")
PACKAGE = "dataset-tiny"


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def contents(num_classes: int = 3) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    arrays = (
        rng.integers(0, 256, (6, 4, 5), dtype=np.uint8),
        np.arange(6, dtype=np.uint8) % num_classes,
        rng.integers(0, 256, (3, 4, 5), dtype=np.uint8),
        np.arange(3, dtype=np.uint8) % num_classes,
    )
    return {name: idx_bytes(array) for name, array in zip(NAMES, arrays, strict=True)}


def source_of(files: dict[str, bytes]) -> IdxSource:
    return IdxSource(
        torchvision_name="TinySet",
        debian_package=PACKAGE,
        class_names=("a", "b", "c"),
        shapes=((6, 4, 5), (3, 4, 5)),
        sha256={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    )


def put(folder: Path, files: dict[str, bytes], packed: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)


class Unreachable:
    """A set of torchvision without a network; notes the timeout that it would have waited."""

    timeouts: list[float | None]

    def __init__(self, root: str, train: bool, download: bool) -> None:
        self.timeouts.append(socket.getdefaulttimeout())
        raise RuntimeError("Error downloading\nand more lines")


@pytest.fixture(autouse=True)
def places(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No place outside of `folder` has the images; returns where this machine's would be."""
    monkeypatch.setattr(idx, "SYSTEM_DATASETS", folder / "system")
    monkeypatch.setattr(Unreachable, "timeouts", [], raising=False)
    monkeypatch.setattr(datasets, "TinySet", Unreachable, raising=False)
    monkeypatch.setenv("PATH", str(folder / "bin"))
    return folder / "system" / "tiny"


def fetch(files: dict[str, bytes]) -> tuple[tuple[str, ...], dict[str, NDArray[np.generic]], list[str]]:
    said: list[str] = []
    class_names, arrays = source_of(files).fetch(Path("raw"), said.append)
    return class_names, arrays, said


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("place", ["raw", "system/tiny"])
def test_files_of_this_machine_become_arrays(place: str, packed: bool) -> None:
    files = contents()
    put(Path(place), files, packed)

    class_names, arrays, said = fetch(files)

    assert class_names == ("a", "b", "c")
    assert {name: (array.shape, array.dtype) for name, array in arrays.items()} == {
        "train-images.npy": ((6, 4, 5, 1), np.uint8),
        "train-labels.npy": ((6,), np.int64),
        "test-images.npy": ((3, 4, 5, 1), np.uint8),
        "test-labels.npy": ((3,), np.int64),
    }
    assert arrays["train-labels.npy"].tolist() == [0, 1, 2, 0, 1, 2]
    assert arrays["train-images.npy"].tobytes() == files["train-images"][16:]
    assert place in said[0]
    assert "checksums match" in said[0]


def test_a_damaged_place_gives_way_to_the_next(places: Path) -> None:
    files = contents()
    put(Path("raw"), files | {"test-labels": b"altered"})
    put(places, files)

    assert str(places) in fetch(files)[2][0]


def altered(folder: Path) -> None:
    put(folder, contents() | {"train-images": contents()["train-images"][:-1] + b"\x00"})


def truncated(folder: Path) -> None:
    put(folder, contents())
    packed = folder / "train-images.gz"
    packed.write_bytes(packed.read_bytes()[:-20])


def not_gzip(folder: Path) -> None:
    put(folder, contents())
    (folder / "train-images.gz").write_bytes(b"<html>log in to this network</html>")


def corrupt_gzip(folder: Path) -> None:
    put(folder, contents())
    packed = bytearray((folder / "train-images.gz").read_bytes())
    packed[12:40] = bytes(28)
    (folder / "train-images.gz").write_bytes(packed)


def incomplete(folder: Path) -> None:
    put(folder, {"train-images": contents()["train-images"]})


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (altered, "train-images.gz is not the published file"),
        (truncated, "train-images.gz is damaged"),
        (not_gzip, "train-images.gz is damaged"),
        (corrupt_gzip, "train-images.gz is damaged"),
        (incomplete, "train-labels is not there"),
    ],
)
def test_files_that_are_not_the_published_ones_are_refused(
    damage: Callable[[Path], None], reason: str, places: Path
) -> None:
    damage(places)

    with pytest.raises(DataError, match=reason):
        fetch(contents())


def test_label_without_a_class_is_refused(places: Path) -> None:
    files = contents(num_classes=5)
    put(places, files)

    with pytest.raises(DataError, match="a train label is 4, must be below 3"):
        fetch(files)


def test_when_every_place_fails_each_is_named_with_its_reason_and_the_remedies() -> None:
    with pytest.raises(DataError) as refusal:
        fetch(contents())

    message = str(refusal.value)
    assert "files put into raw by hand: train-images is not there" in message
    assert "system/tiny): train-images is not there" in message
    assert "torchvision's download: Error downloading\n" in message
    assert f"apt-get download {PACKAGE}: apt-get is not on this machine" in message
    assert f"install the Debian package {PACKAGE}" in message
    assert "train-images, train-labels, test-images, test-labels (each may end in .gz) into raw" in message


def test_a_mirror_that_does_not_answer_is_not_waited_for_long() -> None:
    with pytest.raises(DataError):
        fetch(contents())

    assert Unreachable.timeouts == [20]
    assert socket.getdefaulttimeout() is None


def command(name: str, script: str) -> None:
    path = Path("bin") / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
    path.chmod(0o755)


def test_debian_package_is_unpacked_without_root(folder: Path) -> None:
    files = contents()
    put(folder / "mirror", files)
    command("apt-get", f'case "$*" in *download*) touch {PACKAGE}_1.0_all.deb;; esac')
    command("dpkg-deb", f'target="$3/{folder}/system/tiny"; mkdir -p "$target"; cp {folder}/mirror/* "$target"')

    _, arrays, said = fetch(files)

    assert said == [f"from apt-get download {PACKAGE}, checksums match"]
    assert len(arrays["train-images.npy"]) == 6


@pytest.mark.parametrize(
    ("apt_get", "reason"),
    [
        ("echo 'E: no network' >&2; echo 'E: more' >&2; exit 100", "apt-get failed: E: no network\n"),
        ("exit 1", "apt-get failed: no reason given"),
        ("exit 0", "no package was downloaded"),
    ],
)
def test_failure_of_apt_is_told_in_one_line(apt_get: str, reason: str) -> None:
    command("apt-get", apt_get)

    with pytest.raises(DataError, match=reason):
        fetch(contents())


def test_parse_idx_reads_what_was_written() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)

    np.testing.assert_array_equal(parse_idx(idx_bytes(array), (2, 3, 4)), array)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an IDX file"),
        (b"\x00\x00\x08\x02" + bytes(8), "not an IDX file of 3 dimensions"),
        (b"\x00\x00\x0d\x03" + bytes(12), "unsigned bytes"),
        (idx_bytes(np.zeros((2, 3, 5), np.uint8)), r"shape \(2, 3, 5\), must be \(2, 3, 4\)"),
        (idx_bytes(np.zeros((2, 3, 4), np.uint8))[:-1], r"holds 23 values for shape \(2, 3, 4\)"),
        (idx_bytes(np.zeros((2, 3, 4), np.uint8)) + b"\x00", "holds 25 values"),
    ],
)
def test_parse_idx_refuses_other_content(content: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        parse_idx(content, (2, 3, 4))
