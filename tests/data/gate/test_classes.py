import dataclasses

import pytest
from examining import examined, found

from reconv.errors import DataError
from reconv.params import DataParams


def test_a_class_that_a_given_split_has_not_stops_it(data: DataParams) -> None:
    what = examined(has_splits=True, **{"class": dict.fromkeys(range(84, 120), "cat")})

    with pytest.raises(DataError, match=r'class "dog" has no image in validation: add some to it'):
        found(what, data)


def test_few_images_and_imbalance_are_said(data: DataParams) -> None:
    what = examined(**{"class": dict.fromkeys(range(77), "cat")})

    findings = found(what, data)

    assert findings["few images"].text == "less than 20 training images of dog (4)."
    assert findings["imbalance"].text == "cat has 20 times the training images of dog."


def test_of_many_small_classes_some_are_named(data: DataParams) -> None:
    names = tuple(f"class {number}" for number in range(12))
    what = examined(120, **{"class": {row: names[row % 12] for row in range(120)}})

    findings = found(dataclasses.replace(what, class_names=names), data)

    assert findings["few images"].text.endswith("class 3 (7), class 4 (7) and others.")


def test_classes_that_differ_in_case_alone_are_said(data: DataParams) -> None:
    what = examined(**{"class": {row: ("Cat", "cat")[row % 2] for row in range(120)}})

    findings = found(dataclasses.replace(what, class_names=("Cat", "cat")), data)

    assert list(findings) == ["alike classes"]
    assert findings["alike classes"].text == (
        'The classes "Cat" and "cat" differ only in case: Windows and macOS take them for one folder.'
    )


def test_classes_that_cannot_be_split_are_named_all_at_once(data: DataParams) -> None:
    what = dataclasses.replace(examined(), too_small={"data.test (0.2)": {"cat": 1, "\x1bdog": 0}})

    with pytest.raises(DataError, match=r'(?s)2 classes too small.*class "cat" has 1 left\n.*"\\x1bdog" has 0 left'):
        found(what, data)


def test_classes_whose_images_look_alike_by_nature_are_said(data: DataParams) -> None:
    what = dataclasses.replace(examined(), alike_classes=("cat",))

    assert "many images look alike in cat, as with a camera" in found(what, data)["classes of look-alikes"].text
