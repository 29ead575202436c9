"""8 bits answer nearly as floats do, and what they lose is measured."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from reconv.data.arrays import PreparedData
from reconv.errors import DataError
from reconv.exporting.checking import ExportError, prepared_for
from reconv.exporting.onnx import export_onnx
from reconv.exporting.quantised import Quantised, quantise
from reconv.files import write_bytes, write_json
from reconv.params import network_params
from reconv.serving.bundle import write_bundle
from reconv.training.fit import fit
from reconv.training.job import TrainingJob

# Large enough that fewer bits save more than what describes them takes.
WIDE: dict[str, dict[str, Any]] = {"cnn": {"widths": [32, 64], "hidden": 64}, "feedforward": {"widths": [256, 128]}}


@pytest.fixture(scope="module")
def data(make_prepared) -> PreparedData:
    return make_prepared(60)


@pytest.fixture(scope="module")
def make_exported(data, tiny_params, tmp_path_factory) -> Callable[..., Path]:
    """make_exported("cnn", flips=False, pooling="max"): model.onnx of a network that has learned the images."""

    def make(model: str = "cnn", flips: bool = False, **values: Any) -> Path:
        folder = tmp_path_factory.mktemp("exported")
        network = network_params(model, {**tiny_params.network(model).model_dump(), **WIDE[model], **values})
        augment = tiny_params.augment.model_copy(update={"flip": flips})
        job = TrainingJob(model, network, tiny_params.recipe, augment, 4, 0)
        result = fit(job, data.manifest, data.train, None, lambda *_: None)
        write_bytes(folder / "trained/weights.safetensors", result.weights)
        write_json(folder / "trained/model.json", result.arguments)
        write_bundle(folder / "bundle", folder / "trained", 0.8, data.manifest, "crop")
        return export_onnx(folder / "bundle", folder / "model.onnx", data.folder).file

    return make


@pytest.fixture(scope="module")
def exported(make_exported) -> Path:
    return make_exported()


@pytest.fixture(scope="module")
def quantised(exported, data) -> Quantised:
    return quantise(exported, data, exported.with_suffix(".int8.onnx"))


def answers(file: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"images": images})[0]


@pytest.mark.parametrize(
    ("model", "values"),
    [
        ("cnn", {}),
        ("cnn", {"pooling": "max", "residual": True, "head": "average"}),
        ("feedforward", {}),
    ],
)
def test_accuracy_before_and_after_is_that_of_the_files(make_exported, data, model, values):
    before_file = make_exported(model, **values)

    done = quantise(before_file, data, Path("model.int8.onnx"))

    images, labels = np.asarray(data.test.images), data.test.labels
    before, after = (answers(file, images).argmax(axis=1) == labels for file in (before_file, done.file))
    assert (done.float_accuracy, done.int8_accuracy) == (before.mean(), after.mean())
    assert (done.lost, done.won) == ((before & ~after).sum(), (after & ~before).sum())
    assert done.loss_points == pytest.approx(100 * (done.lost - done.won) / len(labels))
    assert done.float_accuracy > 0.9
    assert done.int8_accuracy > done.float_accuracy - 0.1
    assert done.size_bytes == done.file.stat().st_size < before_file.stat().st_size / 2
    assert [one.batch for one in done.latency] == [1, len(labels)]


def test_weights_are_8_bits_but_for_the_last_layer(exported, quantised):
    sizes: dict[int, int] = {}
    for weight in onnx.load(quantised.file).graph.initializer:
        sizes[weight.data_type] = sizes.get(weight.data_type, 0) + int(np.prod(weight.dims))
    before = sum(int(np.prod(one.dims)) for one in onnx.load(exported).graph.initializer)
    assert sizes[TensorProto.INT8] > 0.9 * before
    assert sizes[TensorProto.FLOAT] >= 64 * 3


def test_probabilities_are_as_fine_as_before(exported, quantised, data):
    """Quantised themselves they would be multiples of 1/256 that do not add up to 1."""
    probabilities = answers(quantised.file, np.asarray(data.test.images))

    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(probabilities, answers(exported, np.asarray(data.test.images)), atol=0.2)


def test_weights_that_see_the_mirror_image_too_are_kept_once(make_exported, data):
    quantise(make_exported(flips=True), data, Path("model.int8.onnx"))

    weights = [one for one in onnx.load("model.int8.onnx").graph.initializer if one.data_type == TensorProto.INT8]
    assert len([one for one in weights if list(one.dims)[:2] == [64, 32]]) == 1


def test_what_the_file_said_it_still_says_and_its_accuracy_too(exported, quantised, data):
    first, second = onnx.load(exported), onnx.load(quantised.file)
    before, after = ({prop.key: prop.value for prop in model.metadata_props} for model in (first, second))
    assert before.items() <= after.items()
    assert float(after["test_accuracy"]) == pytest.approx(quantised.int8_accuracy, abs=1e-6)
    assert float(after["test_accuracy_before_quantisation"]) == pytest.approx(quantised.float_accuracy, abs=1e-6)
    assert after["quantisation"] == f"int8, calibrated on {len(data.train)} training images"
    assert first.doc_string == second.doc_string


def test_any_number_of_images_goes_in_and_the_bytes_are_the_same_every_time(exported, quantised, data):
    quantise(exported, data, Path("again.onnx"))

    assert Path("again.onnx").read_bytes() == quantised.file.read_bytes()
    for count in (1, 2, 7):
        assert answers(quantised.file, np.asarray(data.test.images[:count])).shape == (count, 3)


def test_images_of_another_kind_measure_nothing(make_bundle, params, make_prepared, prepared):
    bundle = make_bundle(params.models.cnn)
    larger = make_prepared(changes={"data.image_size": 16})
    renamed = prepared.manifest.model_copy(update={"class_names": ("one", "two", "three")})

    assert prepared_for(bundle, prepared.folder).manifest == prepared.manifest
    with pytest.raises(DataError, match="holds images of 16 x 16 x 1, the model takes 8 x 8 x 1"):
        prepared_for(bundle, larger.folder)
    with pytest.raises(DataError, match=r"3 classes \(left, middle, right\), the model knows 3 classes \(one, two"):
        prepared_for(make_bundle(params.models.cnn, manifest=renamed), prepared.folder)
    with pytest.raises(DataError, match="nowhere holds no images"):
        prepared_for(bundle, Path("nowhere"))


def test_a_file_that_does_not_fit_the_images_is_refused(exported, make_prepared):
    with pytest.raises(ExportError, match="does not answer images"):
        quantise(exported, make_prepared(changes={"data.image_size": 16}), Path("model.int8.onnx"))
    assert not Path("model.int8.onnx").exists()
