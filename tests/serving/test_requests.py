"""What may stand in a request, and what is said of anything else."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from reconv.data.decoding import Conversion
from reconv.data.processes import Limited, Limits
from reconv.serving import requests
from reconv.serving.requests import RequestError, RequestTooLargeError, images_of

TO = Conversion(8, 1, "crop")
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)


def file_of(image: np.ndarray = PIXELS[0], kind: str = "PNG", size: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0]).resize((size, size)).save(buffer, kind)
    return buffer.getvalue()


def text_of(**kwargs) -> str:
    return base64.b64encode(file_of(**kwargs)).decode()


@pytest.mark.parametrize(
    "request_of",
    [
        lambda: PIXELS,
        lambda: PIXELS.astype(np.int64),
        lambda: PIXELS.astype(np.float64),
        PIXELS.tolist,
        lambda: [file_of(image) for image in PIXELS],
        lambda: [text_of(image=image) for image in PIXELS],
        lambda: ["data:image/png;base64," + text_of(image=image) for image in PIXELS],
        lambda: np.array([text_of(image=image) for image in PIXELS]),
        lambda: np.array([text_of(image=image) for image in PIXELS], dtype=object),
        lambda: pd.DataFrame({"image": [text_of(image=image) for image in PIXELS]}),
        lambda: {"b64": np.array([text_of(image=image) for image in PIXELS])},
    ],
)
def test_pixels_and_files_in_every_form_are_the_same_images(request_of):
    np.testing.assert_array_equal(images_of(request_of(), TO), PIXELS)


def test_one_image_is_one_of_one():
    assert images_of(PIXELS[0], TO).shape == images_of(text_of(), TO).shape == (1, 8, 8, 1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_files_may_have_any_size(kind):
    assert images_of([text_of(kind=kind, size=50)], TO).shape == (1, 8, 8, 1)


@pytest.mark.parametrize(
    ("request_of", "said"),
    [
        (lambda: [], "no image in the request"),
        (lambda: "not base64!", "image 0 is text, but not base64"),
        (lambda: [text_of(), "AAAA"], "image 1 cannot be decoded"),
        (lambda: [text_of(), 7], "image 1 is int, those before it are files"),
        (lambda: PIXELS[:, :4], "an array of 3 x 4 x 8 x 1, must be N x 8 x 8 x 1"),
        (lambda: [[1, 2], [3]], "lists of unequal lengths"),
        (lambda: PIXELS / 255, "not scaled to 0 to 1"),
        (lambda: PIXELS.astype(int) - 300, "numbers of 0 to 255"),
        (lambda: PIXELS * np.nan, "numbers of 0 to 255"),
        (lambda: [[[[None]]]], "something else than numbers"),
        (lambda: {"picture": [1]}, "needs a column named image or b64, this one has picture"),
        (lambda: 7, "an array of 1, must be N x 8 x 8 x 1"),
        (lambda: None, "something else than numbers"),
    ],
)
def test_anything_else_is_named(request_of, said):
    with pytest.raises(RequestError, match=said):
        images_of(request_of(), TO)


@pytest.mark.parametrize(
    ("name", "most", "said"),
    [
        ("MAX_FILE_BYTES", 10, r"image 0 has \d+ bytes, must have at most 10"),
        ("MAX_IMAGES", 2, "the request has 3 images, must have at most 2 of 8 x 8 x 1"),
        ("MAX_NUMBERS", 130, "the request has 3 images, must have at most 2 of 8 x 8 x 1"),
        ("MAX_REQUEST_BYTES", 200, "files in the request have more than 200 bytes together"),
        ("MAX_REQUEST_PIXELS", 130, "files in the request have more than 130 pixels together"),
        ("MAX_REQUEST_SECONDS", 0.0, "1 of the request's 3 images took 0 s to decode"),
    ],
)
def test_what_is_too_large_is_said_with_its_limit(monkeypatch, name, most, said):
    monkeypatch.setattr(requests, name, most)

    with pytest.raises(RequestTooLargeError, match=said):
        images_of([text_of()] * 3, TO)


@pytest.mark.parametrize("limits", [Limits(0.05, 2**30), Limits(30, 64 * 2**20)])
def test_a_file_that_needs_too_much_is_refused_and_the_next_one_answered(monkeypatch, limits):
    monkeypatch.setattr(requests, "_decode", Limited(requests._decode_counted, limits))
    buffer = io.BytesIO()
    Image.new("L", (9990, 9990)).save(buffer, "PNG")

    with pytest.raises(RequestError, match=r"image 1 needs more than 0\.0\d+ "):
        images_of([file_of(), buffer.getvalue()], TO)

    np.testing.assert_array_equal(images_of(file_of(), TO), PIXELS[:1])
