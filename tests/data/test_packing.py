import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from preparing import DECODED, PREPARED, RAW, fetch_and_prepare

from reconv.artifacts import DataReport
from reconv.data.arrays import PreparedData
from reconv.data.packing import prepare
from reconv.data.sources import SOURCES, fetch
from reconv.errors import DataError
from reconv.files import read_arrays
from reconv.params import DataParams


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_each_class_is_split_by_the_same_share(images: Path, data: DataParams) -> None:
    manifest, report = fetch_and_prepare(data)

    # Of 20 images of a class 5 are for the test, of the other 15 round(3.75) for validation.
    assert report.images_per_class == {
        "train": {"left": 11, "middle": 11, "right": 11},
        "validation": {"left": 4, "middle": 4, "right": 4},
        "test": {"left": 5, "middle": 5, "right": 5},
    }
    assert manifest.counts == {"train": 33, "validation": 12, "test": 15}
    assert manifest.image_shape == (8, 8, 1)
    assert manifest.class_names == ("left", "middle", "right")


def test_no_image_is_lost_or_in_two_splits(images: Path, data: DataParams) -> None:
    _, report = fetch_and_prepare(data)

    prepared = PreparedData(PREPARED)
    packed = [image.tobytes() for split in (prepared.development, prepared.test) for image in split.images[:]]
    assert len(set(packed)) == len(packed) == 60
    assert [one.kind for one in report.findings] == ["few images"]


def test_labels_stay_with_their_images(images: Path, data: DataParams) -> None:
    fetch_and_prepare(data)

    development = PreparedData(PREPARED).development
    brightness_of_column_pairs = development.images[:][:, :, 1:7, 0].mean(axis=1).reshape(-1, 3, 2).mean(axis=2)
    np.testing.assert_array_equal(brightness_of_column_pairs.argmax(axis=1), development.labels)


def test_same_seed_gives_the_same_bytes(images: Path, data: DataParams) -> None:
    fetch_and_prepare(data)
    first = content_of(PREPARED)
    shutil.rmtree(PREPARED)
    fetch_and_prepare(data)

    assert content_of(PREPARED) == first


def test_another_seed_gives_another_split(images: Path, data: DataParams) -> None:
    first, _ = fetch_and_prepare(data)
    tests = PreparedData(PREPARED).test.images[:].copy()

    fetch_and_prepare(data.model_copy(update={"seed": 1}))

    assert not np.array_equal(PreparedData(PREPARED).test.images, tests)
    assert first.counts == PreparedData(PREPARED).manifest.counts


def test_mean_and_deviation_are_of_the_training_images_alone(images: Path, data: DataParams) -> None:
    manifest, _ = fetch_and_prepare(data)

    train = PreparedData(PREPARED).train.images[:].astype(np.float64)
    np.testing.assert_allclose(manifest.mean, train.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(manifest.std, train.std(axis=(0, 1, 2)))
    assert manifest.mean != pytest.approx(PreparedData(PREPARED).development.images[:].mean(), rel=1e-6)


def test_every_channel_has_its_own_statistics(images: Path, data: DataParams) -> None:
    manifest, _ = fetch_and_prepare(data.model_copy(update={"channels": 3}))

    assert len(manifest.mean) == len(manifest.std) == 3


def test_copies_stay_in_one_split(images: Path, data: DataParams) -> None:
    for folder in images.iterdir():
        paths = sorted(folder.iterdir())
        for first, second in zip(paths[::2], paths[1::2], strict=True):
            shutil.copy(first, second)

    manifest, report = fetch_and_prepare(data)

    assert all(count % 2 == 0 for count in manifest.counts.values())
    (found,) = (one for one in report.findings if one.kind != "few images")
    assert (found.kind, found.severity, found.count) == ("duplicates", "warning", 30)


def test_leakage_of_a_published_split_is_counted(data: DataParams, monkeypatch: pytest.MonkeyPatch) -> None:
    class Leaking(PublishedSource):
        def fetch(self, raw: Path, say: Callable[[str], None]) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
            names, arrays = super().fetch(raw, say)
            arrays["test-images.npy"][3] = arrays["train-images.npy"][7]
            return names, arrays

    monkeypatch.setitem(SOURCES, "published", Leaking())

    _, report = fetch_and_prepare(data.model_copy(update={"source": "published"}))

    (leak,) = (one for one in report.findings if one.kind == "leaking pixels")
    assert leak.severity == "warning"
    assert {name.split()[0] for name in leak.files} == {"train/7", "test/3"}
    first, second = read_arrays(PREPARED / "findings.npz")["leaking pixels"]
    np.testing.assert_array_equal(first, second)


def test_class_that_is_too_small_for_the_split_is_named(images: Path, data: DataParams) -> None:
    for path in sorted((images / "middle").iterdir())[2:]:
        path.unlink()

    with pytest.raises(DataError, match=r'(?s)split by data\.validation .*at least 2 .*class "middle" has 1 left'):
        fetch_and_prepare(data)


def test_altered_raw_file_is_refused(images: Path, data: DataParams) -> None:
    fetch(data.source, data.group, RAW, lambda _: None)
    pd.read_parquet(RAW / "images.parquet").assign(label=0).to_parquet(RAW / "images.parquet")

    with pytest.raises(DataError, match=r"images\.parquet is not the file that was fetched"):
        prepare(data, RAW, PREPARED, DECODED, lambda *_: None)


def test_image_that_changed_after_fetch_is_refused(images: Path, data: DataParams) -> None:
    fetch(data.source, data.group, RAW, lambda _: None)
    shutil.copy(images / "left" / "000.png", images / "right" / sorted((images / "right").iterdir())[0].name)

    with pytest.raises(DataError, match="changed since it was listed"):
        prepare(data, RAW, PREPARED, DECODED, lambda *_: None)


def test_raw_of_another_source_is_refused(images: Path, data: DataParams) -> None:
    fetch(data.source, data.group, RAW, lambda _: None)

    with pytest.raises(DataError, match=r"raw holds folder:images, data\.source names mnist: run `dvc repro fetch`"):
        prepare(data.model_copy(update={"source": "mnist"}), RAW, PREPARED, DECODED, lambda *_: None)


def test_manifest_is_written_last(images: Path, data: DataParams, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_and_prepare(data)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DataReport, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        prepare(data, RAW, PREPARED, DECODED, lambda *_: None)

    assert not (PREPARED / "manifest.json").exists()


class PublishedSource:
    def fetch(self, raw: Path, say: Callable[[str], None]) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
        rng = np.random.default_rng(0)
        return ("a", "b"), {
            "train-images.npy": rng.integers(0, 256, (40, 9, 13, 3), dtype=np.uint8),
            "train-labels.npy": np.arange(40) % 2,
            "test-images.npy": rng.integers(0, 256, (10, 9, 13, 3), dtype=np.uint8),
            "test-labels.npy": np.arange(10) % 2,
        }


def test_published_test_images_stay_as_they_are(data: DataParams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "published", PublishedSource())

    manifest, _ = fetch_and_prepare(data.model_copy(update={"source": "published"}))

    _, published = PublishedSource().fetch(RAW, print)
    test = PreparedData(PREPARED).test
    np.testing.assert_array_equal(test.images, published["test-images.npy"])
    np.testing.assert_array_equal(test.labels, published["test-labels.npy"])
    assert manifest.counts == {"train": 30, "validation": 10, "test": 10}
    assert manifest.image_shape == (9, 13, 3)


def cut_outs(ground: int) -> None:
    """A class whose pictures are in their transparency, above one colour, beside one of photographs."""
    rng = np.random.default_rng(0)
    for number in range(10):
        picture = rng.integers(0, 256, (8, 8, 3), np.uint8)
        flat = np.full((8, 8, 3), ground, np.uint8)
        for name, pixels in (("icon", np.dstack([flat, picture[..., 0]])), ("photo", picture)):
            path = Path(f"cut-outs/{name}/{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(("ground", "wanted"), [(0, "white"), (255, "black")])
def test_a_class_that_is_blank_below_its_transparency_is_explained_before_the_split(
    ground: int, wanted: str, data: DataParams
) -> None:
    cut_outs(ground)
    section = data.model_copy(update={"source": "folder:cut-outs"})

    with pytest.raises(DataError) as refusal:
        fetch_and_prepare(section)

    first, *others = str(refusal.value).splitlines()
    assert first.startswith("10 images of a single colour: the transparency of 10 of them holds a picture; ")
    assert first.endswith(f"set data.transparency: {wanted}.")
    assert others[-1] == '  - class "icon" has 1 left: its 10 images have the same pixels'
    manifest, report = fetch_and_prepare(section.model_copy(update={"transparency": wanted}))
    assert sum(manifest.counts.values()) == 20
    assert [one.kind for one in report.findings if "blank" in one.kind] == []


def test_a_class_of_copies_is_explained_where_it_cannot_be_split(images: Path, data: DataParams) -> None:
    picture = Image.fromarray(np.random.default_rng(5).integers(0, 256, (8, 8), np.uint8))
    for path in Path("images/left").iterdir():
        picture.save(path)

    with pytest.raises(DataError, match=r'class "left" has 1 left: its 20 images have the same pixels'):
        fetch_and_prepare(data)


def test_blank_images_that_are_opaque_name_no_parameter(images: Path, data: DataParams) -> None:
    for number in range(2):
        Image.new("L", (8, 8), 100 + number).save(f"images/left/00{number}.png")

    _, report = fetch_and_prepare(data)

    (finding,) = (one for one in report.findings if one.kind == "blank images")
    assert (finding.severity, finding.text) == ("warning", "2 images of a single colour.")
