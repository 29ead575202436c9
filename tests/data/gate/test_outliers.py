import pytest
from examining import examined, found

from reconv.params import DataParams


def test_images_that_have_to_be_enlarged_are_said(data: DataParams) -> None:
    finding = found(examined(height={7: 50}, width={8: 60}), data)["small images"]

    assert finding.files == ("007.png is 50 x 100", "008.png is 90 x 60")


def test_where_most_images_are_small_they_are_not_named_one_by_one(data: DataParams) -> None:
    finding = found(examined(height=dict.fromkeys(range(120), 50)), data)["small images"]

    assert finding.files == ()
    assert finding.text.startswith("120 of 120 images with a side of less than data.image_size (64) pixels")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"height": {5: 900}, "width": {5: 1000}}, "005.png is 900 x 1000"),
        ({"width": {5: 400}}, "005.png is 90 x 400"),
        ({"height": {5: 360}}, "005.png is 360 x 100"),
    ],
)
def test_another_size_or_shape_is_unusual(data: DataParams, changes: dict[str, dict[int, int]], named: str) -> None:
    assert found(examined(**changes), data)["unusual size"].files == (named,)


@pytest.mark.parametrize(
    ("name", "value"), [("brightness", 250.0), ("brightness", 5.0), ("contrast", 120.0), ("colourfulness", 150.0)]
)
def test_another_colour_is_unusual(data: DataParams, name: str, value: float) -> None:
    finding = found(examined(**{name: {5: value}}), data)["unusual colour"]

    assert len(finding.files) == 1
    assert finding.files[0].startswith("005.png ")
    assert [(one.split, one.index) for one in finding.pictures] == [("train", 5)]


def test_the_farthest_come_first(data: DataParams) -> None:
    finding = found(examined(width={3: 300, 4: 900, 5: 500}), data)["unusual size"]

    assert [name[:3] for name in finding.files] == ["004", "005", "003"]


def test_what_is_frequent_is_a_kind_and_no_outlier(data: DataParams) -> None:
    assert found(examined(width=dict.fromkeys(range(30), 400)), data) == {}


def test_where_sizes_vary_a_large_one_is_ordinary(data: DataParams) -> None:
    sides = {row: 65 + 10 * row for row in range(120)}

    assert found(examined(height=sides, width=sides), data) == {}


def test_images_of_a_single_colour_are_said(data: DataParams) -> None:
    findings = found(examined(contrast={5: 0.0}, brightness={5: 255.0}), data)

    assert list(findings) == ["blank images"]
    assert findings["blank images"].files == ("005.png",)
    assert findings["blank images"].text == "1 image of a single colour."


def test_blank_images_whose_transparency_holds_a_picture_name_the_parameter(data: DataParams) -> None:
    blank = dict.fromkeys((5, 6, 7), 0.0)
    finding = found(examined(contrast=blank, seen_on={5: "black", 6: "white", 7: "white"}), data)["blank images"]

    assert finding.severity == "warning"
    assert finding.text == (
        "3 images of a single colour: the transparency of 3 of them holds a picture; set data.transparency: white."
    )


def test_a_grey_image_among_coloured_ones_is_said(data: DataParams) -> None:
    assert found(examined(is_grey={5: True}), data)["grey images"].files == ("005.png",)


def test_of_a_published_set_only_the_pixels_count(data: DataParams) -> None:
    findings = found(examined(is_published=True, width={5: 900}, brightness={6: 255.0}), data)

    assert list(findings) == ["unusual colour"]
