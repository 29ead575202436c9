"""A bundle answers as its classifier was evaluated."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax

from reconv.data.decoding import Conversion
from reconv.errors import DataError
from reconv.files import read_json, write_bytes, write_json
from reconv.models.classifier import load_classifier, new_classifier, weights_as_bytes
from reconv.serving.answering import Answering
from reconv.serving.bundle import SERVED, identity, read_served, write_bundle


@pytest.fixture
def trained(params, prepared) -> Path:
    torch.manual_seed(0)
    classifier = new_classifier("cnn", params.models.cnn, prepared.manifest)
    write_bytes(Path("trained/weights.safetensors"), weights_as_bytes(classifier))
    write_json(Path("trained/model.json"), classifier.arguments)
    return Path("trained")


@pytest.fixture
def make_bundle(trained, prepared):
    def make(name="bundle", temperature=2.0, transparency="ignore", **values):
        manifest = prepared.manifest.model_copy(update=values)
        write_bundle(Path(name), trained, temperature, manifest, "pad", transparency)
        return Path(name)

    return make


def test_probabilities_are_those_of_the_logits_at_its_temperature(make_bundle, trained, prepared):
    answering = Answering(make_bundle(temperature=0.5))
    with torch.inference_mode():
        logits = load_classifier(trained)(torch.from_numpy(prepared.test.images[:])).numpy()

    np.testing.assert_allclose(answering.probabilities(prepared.test.images), softmax(logits / 0.5, axis=1), atol=1e-6)
    assert answering.image_shape == (8, 8, 1)
    assert answering.conversion.resize == "pad"


def test_no_images_have_no_answers(make_bundle):
    answering = Answering(make_bundle())
    assert answering.probabilities(np.empty((0, 8, 8, 1), np.uint8)).shape == (0, 3)


def test_a_classifier_from_before_there_were_bundles_answers_uncalibrated(make_bundle):
    bundle = make_bundle()
    (bundle / SERVED).unlink()

    served = Answering(bundle).served
    assert (served.temperature, served.resize) == (1.0, "crop")


def test_the_same_answers_have_the_same_identity(make_bundle):
    first, same, other = make_bundle("first"), make_bundle("same"), make_bundle("other", temperature=1.0)

    assert identity(first) == identity(same) != identity(other)


def test_the_range_of_values_and_the_ground_are_kept(make_bundle):
    bundle = make_bundle(transparency="white", value_range=(-1024, 4095))

    assert Answering(bundle).conversion == Conversion(8, 1, "pad", "white", (-1024, 4095))


def test_where_they_are_the_usual_ones_the_bundle_is_as_before_there_were_any(make_bundle):
    plain, ranged, seen = make_bundle("a"), make_bundle("b", value_range=(0, 4095)), make_bundle("c", 2.0, "black")

    assert not {"transparency", "value_range"} & set(read_json(plain / SERVED))
    assert Answering(plain).conversion == Conversion(8, 1, "pad", "ignore", (0, 65535))
    assert len({identity(plain), identity(ranged), identity(seen)}) == 3


@pytest.mark.parametrize("values", [[9, 9], [0, 2**31], [4095, 0], [0.5, 2], [1]])
def test_a_range_that_is_none_is_refused(make_bundle, values):
    bundle = make_bundle()
    write_json(bundle / SERVED, read_json(bundle / SERVED) | {"value_range": values})

    with pytest.raises(DataError, match="value_range"):
        read_served(bundle)
