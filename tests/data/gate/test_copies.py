import pytest
from examining import examined, found

from reconv.errors import DataError
from reconv.params import DataParams


def test_the_same_pixels_in_two_classes_come_first(data: DataParams) -> None:
    what = examined(content={1: 0, 4: 2})

    findings = found(what, data)

    assert list(findings) == ["conflicting labels", "duplicates"]
    assert findings["conflicting labels"].files == ("000.png is cat", "001.png is dog")
    assert findings["duplicates"].files == ("001.png", "004.png")


def test_copies_of_one_class_and_split_are_duplicates_alone(data: DataParams) -> None:
    finding = found(examined(content={2: 0, 4: 0}), data)["duplicates"]

    assert finding.text == "2 images with the pixels of another one, counting several times."


def test_look_alikes_are_named_in_pairs_with_their_pictures(data: DataParams) -> None:
    finding = found(examined(near=((2, 8), (4, 6))), data)["look-alikes"]

    assert finding.text.startswith("2 pairs of look-alikes in one split")
    assert finding.files == ("002.png", "008.png", "004.png", "006.png")
    assert [(one.split, one.index, one.caption) for one in finding.pictures][:2] == [
        ("train", 2, "002.png"),
        ("train", 8, "008.png"),
    ]


def test_look_alikes_of_different_classes_are_conflicting(data: DataParams) -> None:
    findings = found(examined(near=((2, 7),)), data)

    assert findings["conflicting look-alikes"].files == ("002.png is cat", "007.png is dog")


@pytest.mark.parametrize(
    ("leak", "kind", "shown"),
    [
        ({"content": {4: 110}}, "leaking pixels", "2 images have the same pixels as one of another split"),
        ({"group": {4: 7, 110: 7}}, "leaking group", "2 images have the same group as one of another split"),
        ({"near": ((4, 110),)}, "leaking look-alikes", "1 pair of look-alikes in different splits"),
    ],
)
def test_leakage_of_a_given_split_stops_it_unless_it_is_allowed(
    data: DataParams, leak: dict[str, dict[int, int]], kind: str, shown: str
) -> None:
    what = examined(has_splits=True, **leak)

    with pytest.raises(DataError, match=rf"{shown}.*data\.allow_leakage: true\.\n  - 004\.png in train\n  - 110\.png"):
        found(what, data)

    allowed = found(what, data.model_copy(update={"allow_leakage": True}))[kind]
    assert (allowed.severity, allowed.count) == ("warning", 2)
    assert allowed.files == ("004.png in train", "110.png in validation")


def test_a_published_set_is_what_it_is(data: DataParams) -> None:
    findings = found(examined(has_splits=True, is_published=True, content={4: 110}), data)

    assert findings["leaking pixels"].severity == "warning"


def test_files_without_a_group_share_none(data: DataParams) -> None:
    assert found(examined(has_splits=True, group={4: 7, 5: 7}), data) == {}
