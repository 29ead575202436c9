import base64
import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image

from reconv.data.decoding import decode
from reconv.demo.answers import MAX_CLASSES, answers_to, described, rehearse
from reconv.demo.contenders import Contenders
from reconv.serving.requests import RequestError


def picture(url: str) -> np.ndarray:
    head, _, content = url.partition("base64,")
    assert head == "data:image/png;"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def test_both_answers_are_those_of_the_classifiers_the_most_probable_class_first(
    contenders: Contenders, photo: bytes
) -> None:
    found = answers_to(photo, contenders)

    image = decode(photo, contenders.conversion).copy()
    for contender, answer in zip(contenders.all, found["answers"], strict=True):
        probabilities = contender.answering.probabilities(image[None])[0]
        best = np.argsort(-probabilities)[:MAX_CLASSES]
        assert [one["probability"] for one in answer["classes"]] == pytest.approx(probabilities[best])
        assert [one["name"] for one in answer["classes"]] == [contender.answering.class_names[k] for k in best]
        assert (answer["class"], answer["confidence"]) == (answer["classes"][0]["name"], probabilities.max())
        assert (len(answer["classes"]), answer["num_classes"]) == (10, 12)
        assert answer["milliseconds"] > 0
    assert [one["role"] for one in found["answers"]] == ["champion", "baseline"]
    assert [one["is_calibrated"] for one in found["answers"]] == [True, False]


def test_the_image_is_shown_as_the_classifiers_saw_it(contenders: Contenders, photo: bytes) -> None:
    found = answers_to(photo, contenders)

    shown = picture(found["image"])
    times = len(shown) // 8
    assert shown.shape == (8 * times, 8 * times)
    np.testing.assert_array_equal(shown[::times, ::times], decode(photo, contenders.conversion)[..., 0])
    assert found["shape"] == (8, 8, 1)


def test_grad_cam_lies_over_the_image_of_a_network_that_has_a_map(contenders: Contenders, photo: bytes) -> None:
    cnn, feedforward = answers_to(photo, contenders)["answers"]

    heat = picture(cnn["cam"])
    assert heat.shape == (8, 8, 4)
    assert heat[..., 3].max() == 255
    assert cnn["cam_note"] == ""
    assert feedforward["cam"] is None
    assert "keeps no map" in feedforward["cam_note"]


def test_where_nothing_speaks_for_the_answer_it_is_said(contenders: Contenders, photo: bytes) -> None:
    last = [one for one in contenders.asked_for.answering.classifier.modules() if isinstance(one, torch.nn.Linear)][-1]
    before = last.weight.detach().clone()
    torch.nn.init.zeros_(last.weight)
    try:
        cnn, _ = answers_to(photo, contenders)["answers"]
    finally:
        last.weight.data.copy_(before)

    assert cnn["cam"] is None
    assert "no place in the image" in cnn["cam_note"]


def test_without_an_opponent_it_answers_alone_and_says_why(contenders: Contenders, photo: bytes) -> None:
    alone = dataclasses.replace(contenders, opponent=None, why_alone="its run was deleted")

    assert len(answers_to(photo, alone)["answers"]) == 1
    assert described(alone)["why_alone"] == "its run was deleted"


def test_who_answers_is_known_before_there_is_an_image(contenders: Contenders) -> None:
    found = described(contenders)

    assert [one["title"] for one in found["contenders"]] == ["Convolutional network", "Feed-forward network"]
    assert len(found["class_names"]) == 12


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "The file is empty."),
        (b"no image", "The file cannot be decoded (no format that is read)."),
        (b"\x89PNG\r\n\x1a\n", "The file cannot be decoded"),
    ],
)
def test_what_is_no_image_is_refused_with_the_reason(contenders: Contenders, content: bytes, said: str) -> None:
    with pytest.raises(RequestError) as refused:
        answers_to(content, contenders)

    assert said in str(refused.value)


def test_a_rehearsal_leaves_nothing_behind(contenders: Contenders, photo: bytes) -> None:
    before = answers_to(photo, contenders)["answers"][0]["classes"]

    rehearse(contenders)

    assert answers_to(photo, contenders)["answers"][0]["classes"] == before
