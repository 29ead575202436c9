from pathlib import Path
from typing import Any

import pytest
import torch

from reconv.artifacts import Manifest
from reconv.errors import DataError
from reconv.files import read_json, write_bytes, write_json
from reconv.models import MODELS
from reconv.models.classifier import ImageClassifier, load_classifier, new_classifier, weights_as_bytes
from reconv.params import Params

FOLDER = Path("seed-0")


def some_images(count: int = 6) -> torch.Tensor:
    return torch.randint(0, 256, (count, 8, 8, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=MODELS)
def classifier(request: pytest.FixtureRequest, params: Params, manifest: Manifest) -> ImageClassifier:
    """Of each model, after one batch in training mode, so that its running statistics are not the initial ones."""
    torch.manual_seed(0)
    made = new_classifier(request.param, params.network(request.param), manifest)
    made(some_images())
    return made.eval()


def save(classifier: ImageClassifier) -> None:
    FOLDER.mkdir()
    (FOLDER / "weights.safetensors").write_bytes(weights_as_bytes(classifier))
    write_json(FOLDER / "model.json", classifier.arguments)


def test_raw_images_become_logits_in_float32(classifier: ImageClassifier, manifest: Manifest) -> None:
    logits = classifier(some_images())

    assert logits.shape == (6, manifest.num_classes)
    assert logits.dtype == torch.float32


def test_images_are_scaled_by_mean_and_deviation(classifier: ImageClassifier, manifest: Manifest) -> None:
    images = some_images()
    scaled = (images.permute(0, 3, 1, 2).float() - manifest.mean[0]) / manifest.std[0]

    torch.testing.assert_close(classifier(images), classifier.network(scaled))


def test_a_classifier_that_flips_gives_an_image_and_its_mirror_image_the_same_logits(
    classifier: ImageClassifier, params: Params, manifest: Manifest
) -> None:
    model = classifier.arguments["model"]
    flipping = new_classifier(model, params.network(model), manifest, flips=True).eval()
    flipping.load_state_dict(classifier.state_dict())
    images = some_images()
    mean = (classifier(images) + classifier(images.flip(2))) / 2

    torch.testing.assert_close(flipping(images), mean)
    torch.testing.assert_close(flipping(images.flip(2)), mean)


def test_flips_are_left_out_while_training(classifier: ImageClassifier, params: Params, manifest: Manifest) -> None:
    model = classifier.arguments["model"]
    flipping = new_classifier(model, params.network(model), manifest, flips=True)
    flipping.load_state_dict(classifier.state_dict())
    torch.manual_seed(0)  # dropout draws from it
    first = flipping.train()(some_images())
    torch.manual_seed(0)

    assert torch.equal(first, classifier.train()(some_images()))


def test_a_saved_classifier_comes_back_equal(classifier: ImageClassifier) -> None:
    save(classifier)

    loaded = load_classifier(FOLDER)

    assert not loaded.training
    assert loaded.arguments == classifier.arguments
    assert torch.equal(loaded(some_images()), classifier(some_images()))


def test_loading_does_not_depend_on_params_yaml(classifier: ImageClassifier) -> None:
    save(classifier)

    assert not Path("params.yaml").exists()
    load_classifier(FOLDER)


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
@pytest.mark.parametrize("content", [None, b"", b"not what it says", b"[]"])
def test_missing_or_damaged_file_is_told_with_a_remedy(
    classifier: ImageClassifier, name: str, content: bytes | None
) -> None:
    save(classifier)
    (FOLDER / name).unlink()
    if content is not None:
        (FOLDER / name).write_bytes(content)

    with pytest.raises(DataError, match=r"seed-0.*run `dvc repro`"):
        load_classifier(FOLDER)


def test_truncated_weights_are_refused(classifier: ImageClassifier) -> None:
    save(classifier)
    weights = FOLDER / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])

    with pytest.raises(DataError, match="seed-0"):
        load_classifier(FOLDER)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "transformer"},
        {"network": {}},
        {"class_names": ["a", "b"]},
        {"image_shape": [16, 16, 1]},
        {"image_shape": None},
        {"mean": "dark"},
    ],
    ids=str,
)
def test_description_that_does_not_fit_the_weights_is_refused(
    classifier: ImageClassifier, changes: dict[str, Any]
) -> None:
    save(classifier)
    write_json(FOLDER / "model.json", read_json(FOLDER / "model.json") | changes)

    with pytest.raises(DataError, match=r"seed-0.* run `dvc repro`"):
        load_classifier(FOLDER)


def test_pickled_weights_are_not_loaded(classifier: ImageClassifier) -> None:
    save(classifier)
    torch.save(classifier.state_dict(), FOLDER / "weights.safetensors")

    with pytest.raises(DataError, match="seed-0"):
        load_classifier(FOLDER)


@pytest.mark.parametrize("flips", [False, True])
def test_pixel_order_is_a_permutation_that_a_feedforward_network_does_not_mind(
    params: Params, manifest: Manifest, flips: bool
) -> None:
    classifiers = [new_classifier("feedforward", params.models.feedforward, manifest, flips, o) for o in (None, 7)]
    plain, permuted = (classifier.eval() for classifier in classifiers)
    assert permuted.order is not None
    assert sorted(permuted.order.tolist()) == list(range(64))
    first = plain.network[1].weight
    with torch.no_grad():
        permuted.network.load_state_dict(plain.network.state_dict())
        permuted.network[1].weight.copy_(first[:, permuted.order])
    images = torch.randint(0, 256, (5, 8, 8, 1), dtype=torch.uint8)

    assert torch.allclose(plain(images), permuted(images), atol=1e-5)


def test_pixel_order_comes_back_with_the_weights(params: Params, manifest: Manifest, tmp_path: Path) -> None:
    classifier = new_classifier("cnn", params.models.cnn, manifest, pixel_order=3).eval()
    write_bytes(tmp_path / "weights.safetensors", weights_as_bytes(classifier))
    write_json(tmp_path / "model.json", classifier.arguments)
    images = torch.randint(0, 256, (5, 8, 8, 1), dtype=torch.uint8)

    assert torch.equal(load_classifier(tmp_path)(images), classifier(images))
