import base64
import io

import numpy as np
import pytest
from PIL import Image

from reconv.report.pictures import as_data_uri, as_png, enlarged, highlighted, in_two_colours, sheet, stretched


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_png_holds_every_pixel(channels: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)

    read = np.array(Image.open(io.BytesIO(as_png(picture))))

    np.testing.assert_array_equal(read.reshape(picture.shape), picture)
    head, content = as_data_uri(picture).split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(content) == as_png(picture)


def test_a_sheet_has_nothing_between_its_pictures() -> None:
    grey, colour = np.full((2, 3, 1), 50, np.uint8), np.full((1, 2, 3), (10, 20, 30), np.uint8)

    out = sheet([grey, colour, grey], columns=2, gap=1)

    assert out.shape == (2 + 1 + 2, 3 + 1 + 3, 4)
    assert (out[:2, :3] == (50, 50, 50, 255)).all()
    assert (out[:1, 4:6] == (10, 20, 30, 255)).all()
    assert not out[:2, 3].any()  # the gap
    assert not out[1:2, 4:].any()  # below the smaller one
    assert (out[3:, :3, 3] == 255).all()
    assert not out[3:, 4:].any()  # the empty place


def test_sheets_of_sheets_keep_their_gaps() -> None:
    inner = sheet([np.full((2, 2, 1), 9, np.uint8)] * 2, columns=2)

    np.testing.assert_array_equal(sheet([inner], columns=1), inner)


def test_fewer_pictures_than_columns_leave_no_empty_columns() -> None:
    assert sheet([np.zeros((2, 2, 1), np.uint8)], columns=5).shape == (2, 2, 4)


def test_what_speaks_for_an_answer_is_orange() -> None:
    image = np.full((2, 2, 1), 100, np.uint8)

    out = highlighted(image, np.array([[0.0, 1.0], [0.5, 0.0]]))

    assert out.shape == (2, 2, 3)
    assert (out[0, 0] == 100).all()
    red, _, blue = out[0, 1].tolist()
    assert red > 150 > 50 > blue
    assert red > out[1, 0, 0] > 100


def test_two_colours_tell_signs_apart() -> None:
    positive, zero, negative = in_two_colours(np.array([[2.0, 0.0, -2.0]]))[0].tolist()

    assert positive[2] > positive[0]
    assert negative[0] > negative[2]
    assert zero == [0xF7] * 3


@pytest.mark.parametrize("draw", [in_two_colours, stretched])
def test_constant_values_are_a_picture_too(draw) -> None:
    assert draw(np.zeros((3, 3))).dtype == np.uint8


def test_stretched_values_use_the_whole_range() -> None:
    assert stretched(np.array([[-1.0, 0.0, 1.0]])).tolist() == [[0, 128, 255]]


def test_small_pictures_are_enlarged_by_whole_numbers() -> None:
    assert enlarged(np.zeros((2, 3, 1), np.uint8), 10).shape == (6, 9, 1)
    assert enlarged(np.zeros((2, 30, 1), np.uint8), 10).shape == (2, 30, 1)
