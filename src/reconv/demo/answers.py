"""The bytes of an image file -> what the page shows of it, ready for JSON. Called by the server.

H height, W width; K classes.
"""

import time
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reconv.demo.contenders import Contender, Contenders
from reconv.errors import ImageError
from reconv.explain.gradcam import grad_cam, last_map
from reconv.report.pictures import Pixels, as_data_uri, enlarged
from reconv.serving.requests import RequestError, image_of

MAX_CLASSES = 10
"""That are shown of each answer."""
_turn = Lock()
"""Held while one image is answered: Grad-CAM adds hooks to the networks. Decoding, which may be slow, does not wait."""
_WIDTH = 448
_HEAT = (0xFF, 0x6A, 0x00)
_NO_MAP = "No Grad-CAM: this network keeps no map of the image."
_NOWHERE = "Grad-CAM is empty: no place in the image speaks for this answer."


def described(contenders: Contenders) -> dict[str, Any]:
    """Who answers, and what they know, before there is an image."""
    return {
        "contenders": [_named(one) for one in contenders.all],
        "why_alone": contenders.why_alone,
        "class_names": contenders.asked_for.answering.class_names,
    }


def rehearse(contenders: Contenders) -> None:
    """Answer once, so that no person waits for what only a first answer takes: a second or two."""
    for one in contenders.all:
        _answer(one, np.zeros(contenders.conversion.shape, np.uint8))


def answers_to(content: bytes, contenders: Contenders) -> dict[str, Any]:
    """The image as the classifiers saw it, and the answer of each, the most probable class first.

    Raises:
        RequestError: it is no image that can be used; says why.
    """
    if not content:
        raise RequestError("The file is empty.")
    try:
        image_HWC = image_of(content, contenders.conversion).copy()  # torch wants pixels that it could write to
    except ImageError as error:
        raise RequestError(f"The file {error}.") from None
    with _turn:
        answers = [_answer(one, image_HWC) for one in contenders.all]
    return {"image": as_data_uri(enlarged(image_HWC, _WIDTH)), "shape": image_HWC.shape, "answers": answers}


def _named(contender: Contender) -> dict[str, Any]:
    return {
        "role": contender.role,
        "title": contender.title,
        "origin": contender.origin,
        "is_calibrated": contender.is_calibrated,
    }


def _answer(contender: Contender, image_HWC: Pixels) -> dict[str, Any]:
    answering = contender.answering
    began = time.perf_counter()
    probabilities_K = answering.probabilities(image_HWC[None])[0]
    milliseconds = (time.perf_counter() - began) * 1000
    order = np.argsort(-probabilities_K, kind="stable")[:MAX_CLASSES].tolist()
    classes = [{"name": answering.class_names[k], "probability": float(probabilities_K[k])} for k in order]
    cam, cam_note = _cam(contender, image_HWC, order[0])
    return {
        **_named(contender),
        "class": classes[0]["name"],
        "confidence": classes[0]["probability"],
        "classes": classes,
        "num_classes": len(answering.class_names),
        "cam": cam,
        "cam_note": cam_note,
        "milliseconds": milliseconds,
    }


def _cam(contender: Contender, image_HWC: Pixels, answer: int) -> tuple[str | None, str]:
    """Grad-CAM to be laid over the image, or None and why there is none."""
    classifier = contender.answering.classifier
    if last_map(classifier.network) is None:
        return None, _NO_MAP
    images_NHWC = torch.from_numpy(image_HWC[None]).to(contender.answering.device)
    strength_HW = grad_cam(classifier, images_NHWC, torch.tensor([answer], device=images_NHWC.device))[0].cpu().numpy()
    return (as_data_uri(_heat(strength_HW)), "") if strength_HW.any() else (None, _NOWHERE)


def _heat(strength_HW: NDArray[np.floating]) -> Pixels:
    """(H, W, 4): one colour, the more opaque the stronger."""
    heat_HWC = np.empty((*strength_HW.shape, 4), np.uint8)
    heat_HWC[..., :3] = _HEAT
    heat_HWC[..., 3] = (strength_HW * 255).round()
    return heat_HWC
