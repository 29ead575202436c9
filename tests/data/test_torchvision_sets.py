from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import datasets

from reconv.data.sources import SOURCES
from reconv.data.torchvision_sets import TorchvisionSource
from reconv.errors import DataError

ROWS = {name: source for name, source in SOURCES.items() if isinstance(source, TorchvisionSource)}
# Of two images, as the real class of torchvision has them.
LAYOUTS: dict[str, tuple[int, ...]] = {
    "MNIST": (2, 28, 28),
    "KMNIST": (2, 28, 28),
    "EMNIST": (2, 28, 28),
    "CIFAR10": (2, 32, 32, 3),
    "CIFAR100": (2, 32, 32, 3),
    "SVHN": (2, 3, 32, 32),
}


def pixels(shape: tuple[int, ...], train: bool) -> np.ndarray:
    return np.random.default_rng(int(train)).integers(0, 256, shape, dtype=np.uint8)


def fake_of(name: str) -> type:
    """With the constructor, the attributes and the types of torchvision's class."""

    class Set:
        def __init__(self, root: str, download: bool, **choice: Any) -> None:
            assert download
            if name == "SVHN":
                self.train = choice.pop("split") == "train"
                self.data = pixels(LAYOUTS[name], self.train)
                self.labels = np.array([1, 2])
            else:
                self.train = choice.pop("train")
                self.classes = ["zero", "one", "two"]
                data = pixels(LAYOUTS[name], self.train)
                is_array = name.startswith("CIFAR")
                self.data = data if is_array else torch.from_numpy(data)
                self.targets = [1, 2] if is_array else torch.tensor([1, 2])
            assert choice == ({"split": "balanced"} if name == "EMNIST" else {})

    return Set


def fetch(source: TorchvisionSource, monkeypatch: pytest.MonkeyPatch) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    monkeypatch.setattr(datasets, source.name, fake_of(source.name))
    class_names, arrays = source.fetch(Path("raw"), lambda _: None)
    return class_names, dict(arrays)


@pytest.mark.parametrize("row", ROWS)
def test_every_set_becomes_arrays_of_one_layout(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ROWS[row]
    _, arrays = fetch(source, monkeypatch)

    size = 28 if "MNIST" in source.name else 32
    for split in ("train", "test"):
        images, labels = arrays[f"{split}-images.npy"], arrays[f"{split}-labels.npy"]
        assert images.dtype == np.uint8
        assert images.shape == (2, size, size, 1 if size == 28 else 3)
        assert labels.dtype == np.int64
        assert labels.tolist() == [1, 2]


@pytest.mark.parametrize("row", ROWS)
def test_training_and_test_images_are_not_mixed_up(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ROWS[row]
    _, arrays = fetch(source, monkeypatch)

    for split in ("train", "test"):
        original = pixels(LAYOUTS[source.name], split == "train")
        assert arrays[f"{split}-images.npy"].sum() == original.sum()


@pytest.mark.parametrize(
    ("row", "axes"), [("mnist", (0, 1, 2)), ("emnist", (0, 2, 1)), ("svhn", (0, 2, 3, 1)), ("cifar10", (0, 1, 2, 3))]
)
def test_pixels_stand_upright(row: str, axes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    source = ROWS[row]
    _, arrays = fetch(source, monkeypatch)

    expected = pixels(LAYOUTS[source.name], train=True).transpose(axes)
    np.testing.assert_array_equal(arrays["train-images.npy"].reshape(expected.shape), expected)


def test_classes_have_the_names_of_the_set_or_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetch(ROWS["mnist"], monkeypatch)[0] == ("zero", "one", "two")
    assert fetch(ROWS["svhn"], monkeypatch)[0] == ("0", "1", "2")


@pytest.mark.parametrize("row", ROWS)
def test_torchvision_has_the_class(row: str) -> None:
    assert issubclass(getattr(datasets, ROWS[row].name), datasets.VisionDataset)


@pytest.mark.parametrize("failure", [RuntimeError("File not found\nor corrupted"), OSError("no route"), RuntimeError()])
def test_failing_download_is_told_with_remedies(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(**_: Any) -> None:
        raise failure

    monkeypatch.setattr(datasets, "MNIST", unreachable)

    with pytest.raises(DataError) as refusal:
        TorchvisionSource("MNIST").fetch(Path("raw"), lambda _: None)

    first, remedy = str(refusal.value).splitlines()
    reason = str(failure).split("\n", maxsplit=1)[0] or "no reason given"
    assert first == f"torchvision cannot download MNIST: {reason}."
    assert "folder:PATH" in remedy
