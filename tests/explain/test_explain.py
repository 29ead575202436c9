from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from reconv.data.arrays import PreparedData
from reconv.explain.explain import Explained, explain
from reconv.files import write_bytes, write_json
from reconv.models.classifier import new_classifier, weights_as_bytes
from reconv.params import Params
from reconv.report.galleries import galleries

FOLDER = Path("seed-0")


def save(params: Params, prepared: PreparedData, model: str, changes: dict[str, object] | None = None) -> None:
    torch.manual_seed(0)
    network = params.network(model).model_copy(update=changes or {})
    classifier = new_classifier(model, network, prepared.manifest)
    write_bytes(FOLDER / "weights.safetensors", weights_as_bytes(classifier))
    write_json(FOLDER / "model.json", classifier.arguments)


def predictions(prepared: PreparedData) -> pd.DataFrame:
    """All right, but for the images 2 and 5, of which the network is surer of the latter."""
    labels = prepared.test.labels
    logits = np.eye(3)[labels] * 4.0
    logits[2] = np.roll(logits[2], 1)
    logits[5] = np.roll(logits[5], 1) * 2
    columns = {f"logit_{k}": logits[:, k] for k in range(3)}
    return pd.DataFrame({"seed": 0, "image": np.arange(len(labels)), "label": labels, **columns})


def suspects(count: int = 2) -> pd.DataFrame:
    rows = {"split": ["validation", "test"], "index": [3, 1], "file": ["a.png", "b.png"], "label": "left"}
    return pd.DataFrame({**rows, "suggested": "right", "confidence": [0.9, 0.8], "of_label": [0.01, 0.1]})[:count]


@pytest.fixture
def explained(params: Params, prepared: PreparedData) -> Explained:
    save(params, prepared, "cnn")
    return explain(FOLDER, predictions(prepared), suspects(), 2.0, prepared)


def test_every_first_filter_has_a_kind_and_a_picture(explained: Explained) -> None:
    assert len(explained.explanation.filters) == 4
    assert explained.pictures["filters"].shape == (4, 1, 3, 3)
    assert explained.explanation.text.startswith("What its 4 first filters respond to most")
    assert sum(value for name, value in explained.explanation.as_metrics().items() if "share" in name) == 1


def test_the_surest_mistakes_come_first(explained: Explained, prepared: PreparedData) -> None:
    first, second = explained.explanation.mistakes

    assert (first.image, second.image) == (5, 2)
    assert first.confidence == pytest.approx(np.exp(4) / (np.exp(4) + 2))  # a logit of 8 at a temperature of 2
    assert first.actual == prepared.manifest.class_names[prepared.test.labels[5]]
    assert first.predicted != first.actual
    np.testing.assert_array_equal(explained.pictures["mistakes"], prepared.test.images[[5, 2]])


def test_images_of_different_classes_are_compared_with_sobel(explained: Explained) -> None:
    pictures = explained.pictures

    assert pictures["images"].shape == (4, 8, 8, 1)
    assert pictures["edges"].shape == pictures["sobel"].shape == (4, 8, 8)
    assert len(np.unique(pictures["images"].reshape(4, -1), axis=0)) == 4


def test_the_order_of_predictions_does_not_matter(explained: Explained, params: Params, prepared: PreparedData) -> None:
    shuffled = predictions(prepared).sample(frac=1, random_state=0)

    assert explain(FOLDER, shuffled, suspects(), 2.0, prepared).explanation == explained.explanation


@pytest.mark.parametrize(
    ("model", "changes"), [("feedforward", {}), ("cnn", {"kernel_size": 1}), ("cnn", {"shared_weights": False})]
)
def test_without_shared_filters_there_is_nothing_to_show(
    params: Params, prepared: PreparedData, model: str, changes: dict[str, object]
) -> None:
    save(params, prepared, model, changes)

    explained = explain(FOLDER, predictions(prepared), suspects(), 1.0, prepared)

    assert explained.explanation.filters == ()
    assert explained.explanation.text.startswith("The first layer has no filters that could be looked at.")


@pytest.mark.parametrize(
    ("name", "filters"), [("mobilenet_v3_small", (16, 3, 3, 3)), ("convnext_tiny", (96, 3, 4, 4)), ("vit_b_32", None)]
)
def test_networks_of_torchvisions_show_what_they_have(
    make_params: Callable[..., Params],
    of_torchvision: Callable[..., dict[str, Any]],
    prepared: PreparedData,
    name: str,
    filters: tuple[int, ...] | None,
) -> None:
    """Filters and maps; a transformer, whose patches alone are a convolution, has neither and it is said."""
    save(make_params(of_torchvision(name, weights="default")), prepared, "cnn")

    explained = explain(FOLDER, predictions(prepared), suspects(), 1.0, prepared)

    pictures = explained.pictures
    assert "no pictures" in explained.explanation.text or filters is not None
    assert len(explained.explanation.filters) == (filters[0] if filters else 0)
    assert filters is None or pictures["filters"].shape == filters
    assert pictures["edges"].shape == pictures["sobel"].shape == (4, 64, 64)  # of 224
    assert len(explained.explanation.answers) == len(pictures["cams"]) == (5 if filters else 0)
    assert np.isfinite(pictures["cams"]).all()
    assert len(explained.explanation.mistakes) == 2
    assert set(galleries(explained.explanation, pictures)) == (
        {"filters", "edges", "answers", "mistakes", "suspects"} if filters else {"mistakes", "suspects"}
    )


def test_a_network_that_is_always_right_has_no_mistakes(params: Params, prepared: PreparedData) -> None:
    save(params, prepared, "cnn")
    right = predictions(prepared)
    right[["logit_0", "logit_1", "logit_2"]] = np.eye(3)[right["label"]]

    explained = explain(FOLDER, right, suspects(), 1.0, prepared)

    assert explained.explanation.mistakes == ()
    assert len(explained.pictures["mistakes"]) == 0


def test_labels_that_are_probably_wrong_are_shown(explained: Explained, prepared: PreparedData) -> None:
    first, _ = explained.explanation.suspects

    assert (first.file, first.label, first.suggested, first.confidence) == ("a.png", "left", "right", 0.9)
    assert explained.explanation.num_suspects == 2
    shown, other = explained.pictures["suspects"]
    np.testing.assert_array_equal(shown, prepared.validation.images[3:4][0])
    np.testing.assert_array_equal(other, prepared.test.images[1:2][0])


def test_without_suspects_there_are_no_pictures_of_them(params: Params, prepared: PreparedData) -> None:
    save(params, prepared, "cnn")

    explained = explain(FOLDER, predictions(prepared), suspects(0), 2.0, prepared)

    assert explained.explanation.suspects == ()
    assert len(explained.pictures["suspects"]) == 0
