"""New images against those that a champion was trained on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reconv.data.arrays import PreparedData
from reconv.files import write_bytes, write_json
from reconv.registry.reference import Reference, load_reference, reference_of, save_reference
from reconv.retraining.drift import NewImages, drift, new_images
from reconv.serving.answering import Answering
from reconv.serving.bundle import write_bundle
from reconv.training.fit import fit


@pytest.fixture(scope="module")
def data(make_prepared) -> PreparedData:
    return make_prepared(120)


@pytest.fixture
def champion(data, make_job) -> Answering:
    trained = fit(make_job(epochs=3), data.manifest, data.train, data.validation, lambda *_: None)
    write_bytes(Path("trained/weights.safetensors"), trained.weights)
    write_json(Path("trained/model.json"), trained.arguments)
    write_bundle(Path("bundle"), Path("trained"), 1.0, data.manifest, "crop")
    return Answering(Path("bundle"))


@pytest.fixture
def reference(data, champion) -> Reference:
    made = reference_of(data, champion.probabilities(data.test.images).max(axis=1))
    save_reference(made, Path("bundle"))
    found = load_reference(Path("bundle"))
    assert found is not None
    return found


@pytest.fixture
def look(data, champion, reference):
    """look(NewImages) -> name -> what was found."""

    def call(fresh: NewImages):
        return {one.name: one for one in drift(fresh, data.manifest, reference, champion)}

    return call


def fresh_of(data: PreparedData, images: np.ndarray | None = None, labels: np.ndarray | None = None) -> NewImages:
    images = data.development.images[:] if images is None else images
    labels = data.development.labels[: len(images)] if labels is None else labels
    return NewImages(images, labels, len(images))


def test_images_that_are_known_are_not_new(data, reference, make_prepared):
    assert new_images(data, reference).count == 0
    other = make_prepared(20, seed=9)
    assert new_images(other, reference).count == 60


def test_without_new_images_there_is_nothing_to_tell(data, reference, champion):
    assert drift(new_images(data, reference), data.manifest, reference, champion) == ()


@pytest.mark.parametrize("seed", range(3, 8))
def test_more_of_the_same_has_not_drifted(make_prepared, look, seed):
    found = look(fresh_of(make_prepared(120, seed=seed)))

    assert set(found) == {"class_mix", "brightness", "contrast", "colourfulness", "confidence"}
    assert [name for name, one in found.items() if one.has_drifted] == []


def test_brighter_images_have_drifted_and_it_is_said_how_far(make_prepared, look):
    other = make_prepared(120, seed=9)
    brighter = np.minimum(other.development.images[:].astype(int) + 60, 255).astype(np.uint8)

    found = look(fresh_of(other, brighter))

    assert found["brightness"].has_drifted
    assert found["brightness"].effect > 0.9
    assert "mean brightness (0 to 255)" in found["brightness"].text
    assert not found["class_mix"].has_drifted


def test_images_that_the_champion_is_unsure_of_have_drifted(data, look):
    """Noise of the same brightness and contrast."""
    rng = np.random.default_rng(0)
    noise = rng.permuted(data.development.images[:].reshape(len(data.development), -1), axis=1)

    found = look(fresh_of(data, noise.reshape(-1, 8, 8, 1)))

    assert found["confidence"].has_drifted
    assert not found["brightness"].has_drifted


def test_a_class_that_comes_more_often_has_drifted(make_prepared, look):
    other = make_prepared(120, seed=9)
    often = np.flatnonzero(other.development.labels == 2)

    found = look(fresh_of(other, other.development.images[often], other.development.labels[often]))

    assert found["class_mix"].has_drifted
    assert '"right" 100.0% instead of 33.3%' in found["class_mix"].text


def test_a_difference_that_is_certain_and_small_is_no_drift(data, reference, champion):
    """One image in twelve is bright, and very many are known."""
    images = data.development.images[:].copy()
    images[::12] = np.minimum(images[::12].astype(int) + 100, 255)
    many = np.concatenate([images] * 20)
    known = replace(reference, brightness=np.tile(reference.brightness, 20))

    fresh = NewImages(many, np.tile(data.development.labels, 20), len(many))
    found = next(one for one in drift(fresh, data.manifest, known, champion) if one.name == "brightness")

    assert found.adjusted_p_value < 1e-6
    assert not found.has_drifted


def test_a_champion_of_other_classes_is_not_asked_for_its_confidence_in_a_mix(data, champion, reference, make_prepared):
    other = make_prepared(20, seed=9)
    manifest = data.manifest.model_copy(update={"class_names": ("left", "middle", "new")})

    found = {one.name for one in drift(fresh_of(other), manifest, reference, champion)}
    assert "class_mix" not in found
