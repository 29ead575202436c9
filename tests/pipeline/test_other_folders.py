"""Folders in the forms in which data-sharing sites offer them, looked at and prepared by the real commands."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import generate_images
from PIL import Image
from project_folder import change_params, copy_pipeline, environment

from reconv.artifacts import DataReport, Manifest

PER_CLASS = 6
CLASSES = ("glioma", "meningioma", "no tumor")


def put(*folders: str, suffix: str = ".jpg") -> None:
    """Other images in a folder per class in each of `folders`."""
    for seed, folder in enumerate(folders):
        images, labels = generate_images(PER_CLASS, seed)
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = Path(folder, CLASSES[label], f"{number:03d}{suffix}")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path, "JPEG")


def put_file(name: str, content: bytes = b"x") -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def brain_mri() -> str:
    """Two splits by long names; some files saved as .jfif, one without an extension, a file of the desktop."""
    put("found/Training", "found/Testing")
    first, second, *_ = sorted(Path("found/Training/glioma").iterdir())
    first.rename(first.with_suffix(".jfif"))
    second.rename(second.with_suffix(""))
    put_file("found/Training/glioma/desktop.ini")
    return "folder:found"


def training_set() -> str:
    put("found/dataset/training_set", "found/dataset/test_set")
    shutil.copytree("found/dataset/test_set/glioma", "found/dataset/single_prediction")
    return "folder:found"


def yolo() -> str:
    put("found/train", "found/val", "found/test")
    put_file("found/train.cache")
    return "folder:found"


def mac_zip() -> str:
    put("found/MRI scans")
    for path in [*Path("found").rglob("*.jpg")]:
        put_file(f"found/__MACOSX/{path.relative_to('found').with_name('._' + path.name)}")
    return f"archive:{shutil.make_archive('scans', 'zip', 'found')}"


def intel() -> str:
    """An archive whose folders were packed one by one, into a folder of the same name."""
    put("found/seg_train/seg_train", "found/seg_test/seg_test")
    shutil.copytree("found/seg_test/seg_test/glioma", "found/seg_pred/seg_pred")
    return f"archive:{shutil.make_archive('intel', 'zip', 'found')}"


ALL = PER_CLASS * len(CLASSES)
TWO_SPLITS = {"train": 12, "validation": 6, "test": ALL}


@pytest.mark.parametrize(
    ("make", "counts", "skipped"),
    [
        (brain_mri, TWO_SPLITS, "1 file was skipped: 1 not an image (.ini)."),
        (training_set, TWO_SPLITS, "6 files were skipped: 6 beside the split folders (dataset/single_prediction)."),
        (yolo, {"train": ALL, "validation": ALL, "test": ALL}, "1 beside the split folders (train.cache)."),
        (mac_zip, {"train": 9, "validation": 3, "test": 6}, "1 file was skipped: 1 of the system (__MACOSX)."),
        (intel, TWO_SPLITS, "6 files were skipped: 6 beside the split folders (seg_pred/seg_pred)."),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_it_is_read_as_it_is_meant(
    project: Path, repository: Path, make: Callable[[], str], counts: dict[str, int], skipped: str
) -> None:
    copy_pipeline(repository, project)
    source = make()
    change_params(project, {"data.source": source})

    looked = run("reconv", "inspect", source, "--json")
    prepared = run("dvc", "repro", "prepare")

    found = json.loads(looked.stdout)
    assert found["counts"] == counts
    assert [*found["images_per_class"]["train"]] == [*CLASSES]
    (finding,) = (one for one in found["findings"] if one["kind"] == "skipped files")
    assert skipped in finding["text"]
    assert finding["text"] in prepared.stdout
    assert Manifest.load(project / "data/prepared/manifest.json").counts == counts
    report = DataReport.load(project / "data/prepared/data_report.json")
    assert finding["files"] == [file for one in report.findings if one.kind == "skipped files" for file in one.files]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done
