from collections.abc import Iterable
from itertools import product
from pathlib import Path

import pytest
from PIL import Image

from reconv.data.folders import list_folder, split_of
from reconv.data.listing import Listing
from reconv.data.storage import FolderStorage
from reconv.errors import DataError


def put(path: str) -> None:
    file = Path("images", path)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), len(path)).save(file, "PNG")


def listed(*paths: str) -> Listing:
    """`{a,b}/1.png` is a/1.png and b/1.png."""
    for path in paths:
        for each in spread(path):
            put(each)
    return list_folder(FolderStorage(Path("images")), "images")


def spread(path: str) -> Iterable[str]:
    parts = [part.strip("{}").split(",") if "{" in part else [part] for part in path.split("/")]
    return map("/".join, product(*parts))


def splits_of(found: Listing) -> dict[str, str]:
    return dict(zip(found.paths, found.splits, strict=True))


def test_every_file_is_listed_with_its_class() -> None:
    found = listed("dog/2.png", "cat/b/1.PNG", "cat/0.jpg", "cat/photo")

    assert found.class_names == ("cat", "dog")
    assert found.paths == ("cat/0.jpg", "cat/b/1.PNG", "cat/photo", "dog/2.png")
    assert found.labels.tolist() == [0, 0, 0, 1]
    assert not any(found.splits)


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("Train", "val", "test"),
        ("Training", "Validation", "Testing"),
        ("train", "dev", "test"),
        ("training_set", "valid-set", "test_set"),
        ("TrainingSet", "ValidSet", "TestSet"),
        ("seg_train", "seg_dev", "seg_test"),
        ("train2017", "val2017", "test2017"),
        ("01 training data", "02 validation data", "03 test data"),
        ("x_trainimages", "x_valimages", "x_testimages"),
    ],
)
def test_folders_of_splits_may_be_above_the_classes(train: str, validation: str, test: str) -> None:
    found = listed(f"{{{train},{validation},{test}}}/{{a,b}}/1.png")

    assert found.class_names == ("a", "b")
    assert splits_of(found)[f"{train}/b/1.png"] == "train"
    assert splits_of(found)[f"{validation}/b/1.png"] == "validation"
    assert splits_of(found)[f"{test}/b/1.png"] == "test"
    assert found.skipped == {}


@pytest.mark.parametrize("name", ["pretrained", "attest", "trainval", "train_test", "contest", "devil", "latest"])
def test_a_name_that_only_holds_the_letters_of_a_split_means_none(name: str) -> None:
    assert split_of(name) == ""


def test_a_class_named_like_a_split_beside_others_is_a_class() -> None:
    found = listed("{test,tube,train}/1.png")

    assert found.class_names == ("test", "train", "tube")
    assert not any(found.splits)


def test_a_class_that_is_missing_in_a_split_keeps_its_number() -> None:
    found = listed("train/{a,b,c}/1.png", "test/{a,c}/1.png")

    assert found.class_names == ("a", "b", "c")
    assert dict(zip(found.paths, found.labels.tolist(), strict=True))["test/c/1.png"] == 2


@pytest.mark.parametrize(
    "paths",
    [
        ["data/{a,b}/1.png"],
        ["my/data/{a,b}/1.png", "my/README.md"],
        ["data/{train,test}/{a,b}/1.png"],
        ["images/{train,val}/{a,b}/1.png", "labels/list.txt"],
        ["seg_train/seg_train/{a,b}/1.png", "seg_test/seg_test/{a,b}/1.png"],
        ["{train,test}/images/{a,b}/1.png"],
        ["data/{train,test}/{a,b}/1.png", "data/data/{train,test}/{a,b}/1.png"],
    ],
)
def test_folders_that_only_hold_the_others_are_no_classes(paths: list[str]) -> None:
    found = listed(*paths)

    assert found.class_names == ("a", "b")
    assert len(set(found.splits)) == (1 if "train" not in paths[0] else 2)


@pytest.mark.parametrize(
    ("paths", "reasons"),
    [
        (["seg_pred/1.png"], {"seg_pred/1.png": "beside the split folders"}),
        (["README.md"], {"README.md": "beside the split folders"}),
        (["train/1.png"], {"train/1.png": "outside the class folders"}),
        (["__MACOSX/train/a/1.png"], {"__MACOSX": "of the system"}),
        ([".ipynb_checkpoints/a/1.png"], {".ipynb_checkpoints": "hidden"}),
        (["train/a/@eaDir/1.png/S.png"], {"train/a/@eaDir": "of the system"}),
    ],
)
def test_what_is_beside_splits_and_classes_is_told_and_not_a_class(paths: list[str], reasons: dict[str, str]) -> None:
    found = listed("{train,test}/{a,b}/1.png", *paths)

    assert found.class_names == ("a", "b")
    assert found.paths == ("test/a/1.png", "test/b/1.png", "train/a/1.png", "train/b/1.png")
    assert found.skipped == reasons


def test_images_beside_class_folders_are_told() -> None:
    assert listed("{a,b}/1.png", "1.png").skipped == {"1.png": "outside the class folders"}


def test_unlabeled_test_images_are_told() -> None:
    for unlabeled in ("test/1.png", "test/test/2.png"):
        found = listed("train/{a,b}/1.png", unlabeled)

        assert found.class_names == ("a", "b")
        assert set(found.splits) == {"train"}
        assert unlabeled in found.skipped


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["{amazon,dslr,webcam}/{bike,cup}/1.png"], "amazon, dslr, webcam of images have the same sub-folders, bike"),
        (["{old,new}/{bike,cup,mug}/1.png", "new/pen/1.png"], "rename the folders above to train, validation and test"),
        (["{covid,normal}/{images,masks}/1.png"], "such as masks, move those away"),
        (["{cat,dog}/{train,test}/1.png"], "Put the splits above the classes: test/cat instead of cat/test"),
        (["{train,test}/{siteA,siteB}/{cat,dog}/1.png"], "The folders siteA, siteB of images have the same"),
        (["train/{cat,dog}/1.png", "pred/1.png"], "has the folder train with sub-folders (cat, dog) beside pred"),
        (["{train,val,valid}/{a,b}/1.png"], "has 2 folders for validation, val, valid, must have one"),
        (["{train_images,test_images}/1.png"], "files without a class in test_images, train_images"),
        (["cat/1.png"], "has 1 class folder with files, must have at least 2: one sub-folder for each class"),
        (["1.png"], "has 0 class folders with files, must have at least 2"),
    ],
)
def test_folders_that_do_not_look_like_classes_stop(paths: list[str], words: str) -> None:
    with pytest.raises(DataError) as refusal:
        listed(*paths)

    assert words in str(refusal.value)


@pytest.mark.parametrize(
    "paths",
    [
        ["{n1,n2}/images/1.png"],
        ["{cat,dog}/{1,2}.png", "{cat,dog}/{close,far}/1.png", "{cat,dog}/3.png"],
        ["cat/{2020,2021}/1.png", "dog/{2022,2023}/1.png"],
    ],
)
def test_classes_may_have_folders_of_their_own(paths: list[str]) -> None:
    assert len(listed(*paths).class_names) == 2
