"""An exported file answers as its bundle does; one that does not is refused."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from onnx import numpy_helper

from reconv.cli.main import main
from reconv.data.arrays import PreparedData
from reconv.errors import DataError
from reconv.exporting.checking import TOLERANCE, ExportError, batch_size, check, images_to_check
from reconv.exporting.onnx import export_onnx, onnx_of
from reconv.files import write_json
from reconv.places import PREPARED
from reconv.serving.answering import Answering
from reconv.serving.bundle import SERVED

# Values of models.cnn, options of the classifier, and the image's side: an odd one is halved otherwise.
NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "strided": ({}, {"flips": True}, 8),
    "max": ({"pooling": "max", "residual": True, "convolutions": 2}, {}, 9),
    "average": ({"pooling": "average", "head": "average", "hidden": 0, "batch_norm": False}, {"flips": True}, 9),
    "residual": ({"residual": True, "whitened": False, "kernel_size": 5}, {}, 9),
    "pixels in another order": ({}, {"flips": True, "pixel_order": 3}, 8),
    "locally connected": ({"shared_weights": False}, {"flips": True}, 9),
}


@pytest.fixture
def bundle(make_bundle, params) -> Path:
    return make_bundle(params.models.cnn)


@pytest.fixture
def images() -> np.ndarray:
    return random_images(64, (8, 8, 1))


def random_images(count: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (count, *shape), np.uint8)


def assert_answers_are_the_same(file: Path, bundle: Path, shape: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    answering = Answering(bundle)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for size in sizes:
        images = random_images(size, shape)
        probabilities, logits = session.run(["probabilities", "logits"], {"images": images})

        assert probabilities.dtype == logits.dtype == np.float32
        expected = answering.probabilities(images)
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)
        np.testing.assert_array_equal(probabilities.argmax(axis=1), expected.argmax(axis=1))
        np.testing.assert_allclose(logits, answering.logits(images), atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_cnn_answers_as_in_torch(make_bundle, make_params, prepared, name):
    values, options, image_size = NETWORKS[name]
    network = make_params({f"models.cnn.{key}": value for key, value in values.items()}).models.cnn
    shape = (image_size, image_size, 1)
    manifest = prepared.manifest.model_copy(update={"image_shape": shape})
    made = make_bundle(network, manifest=manifest, **options)

    exported = export_onnx(made, Path("model.onnx"))

    assert exported.max_difference <= TOLERANCE
    assert_answers_are_the_same(Path("model.onnx"), made, shape, (1, 2, 7, 64))


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_feedforward_network_answers_as_in_torch(make_bundle, make_params, batch_norm):
    network = make_params({"models.feedforward.batch_norm": batch_norm}).models.feedforward
    made = make_bundle(network, "feedforward", flips=True)

    export_onnx(made, Path("model.onnx"))

    assert_answers_are_the_same(Path("model.onnx"), made, (8, 8, 1), (1, 2, 7, 64))


@pytest.mark.slow
def test_a_network_of_torchvisions_answers_as_in_torch_and_resizes_by_itself(
    make_bundle, make_params, of_torchvision, prepared
):
    made = make_bundle(make_params(of_torchvision()).models.cnn, flips=True)

    exported = export_onnx(made, Path("model.onnx"))

    assert "the repetition of grey as 3 channels, the resizing to 224 x 224" in exported.inside
    assert_answers_are_the_same(Path("model.onnx"), made, (8, 8, 1), (1, 2, 7))


def test_resizing_of_large_images_averages_as_in_torch(make_bundle, make_params, of_torchvision, prepared):
    """To less than half, where a resizing without it would differ."""
    shape, scale = (500, 500, 3), {"mean": (90.0,) * 3, "std": (60.0,) * 3}
    manifest = prepared.manifest.model_copy(update={"image_shape": shape, **scale})
    network = make_params(of_torchvision(weights="a.safetensors")).models.cnn
    answering = Answering(make_bundle(network, manifest=manifest))
    # Of what the network sees; its own layers would hide a difference.
    answering.classifier.network = torch.nn.Flatten()

    session = onnxruntime.InferenceSession(onnx_of(answering).SerializeToString(), providers=["CPUExecutionProvider"])

    images = random_images(3, (500, 500, 3))
    (seen,) = session.run(["logits"], {"images": images})
    with torch.inference_mode():
        expected = answering.classifier.inputs(torch.from_numpy(images)).flatten(1)
    np.testing.assert_allclose(seen, expected, atol=1e-4)


def test_any_number_of_raw_images_goes_in(bundle):
    export_onnx(bundle, Path("model.onnx"))

    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    assert (taken.name, taken.type, taken.shape) == ("images", "tensor(uint8)", ["N", 8, 8, 1])
    assert [(given.name, given.shape) for given in session.get_outputs()] == [
        ("probabilities", ["N", 3]),
        ("logits", ["N", 3]),
    ]


def test_the_file_says_what_it_is_of_and_what_is_left_to_do(bundle):
    exported = export_onnx(bundle, Path("model.onnx"))

    model = onnx.load("model.onnx")
    values = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(values["class_names"]) == ["left", "middle", "right"]
    assert (values["image_size"], values["channels"], values["resize"]) == ("8", "1", "crop")
    assert float(values["temperature"]) == 0.6
    assert values["reconv_version"]
    assert json.loads(values["seen_by_network"]) == [8, 8, 1]
    assert exported.inside in model.doc_string
    assert exported.outside in model.doc_string
    assert "make it grey and 8 x 8 pixels, the shorter side resized and the centre kept" in exported.outside


def test_the_file_names_no_place_of_this_machine_and_is_the_same_every_time(bundle, repository):
    for name in ("first", "second"):
        export_onnx(bundle, Path(f"{name}.onnx"))

    content = Path("first.onnx").read_bytes()
    assert content == Path("second.onnx").read_bytes()
    assert b".py" not in content
    assert str(repository).encode() not in content


def test_an_image_that_fills_a_batch_again_is_counted_once(bundle, prepared):
    exported = export_onnx(bundle, Path("model.onnx"), prepared.folder)

    assert exported.kind == "test images"
    assert exported.images == len({image.tobytes() for image in prepared.test.images[:]})


def test_the_tests_images_are_what_is_checked_where_there_are_any(bundle, prepared, make_prepared):
    own, kind = images_to_check(bundle, (8, 8, 1), prepared.folder)
    assert kind == "test images"
    assert {image.tobytes() for image in own} == {image.tobytes() for image in prepared.test.images[:]}

    others = make_prepared(changes={"data.image_size": 16})
    assert images_to_check(bundle, (8, 8, 1), others.folder)[1] == "random images"
    assert images_to_check(bundle, (8, 8, 1), Path("nowhere"))[1] == "random images"


@pytest.mark.parametrize(("seen", "expected"), [((28, 28, 1), 256), ((224, 224, 3), 20), ((500, 500, 3), 16)])
def test_a_batch_of_what_the_network_sees_large_has_few_images(seen, expected):
    assert batch_size(seen) == expected


def with_another_bias(content: bytes, change: float) -> bytes:
    model = onnx.load_from_string(content)
    last = next(one for one in reversed(model.graph.initializer) if list(one.dims) == [3])
    last.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(last) + np.float32([change, 0, 0]), last.name))
    return model.SerializeToString()


@pytest.mark.parametrize("change", [0.01, float("nan")])
def test_a_file_with_another_weight_is_refused(bundle, images, change):
    answering = Answering(bundle)
    content = onnx_of(answering).SerializeToString()
    assert check(content, answering, images) < TOLERANCE

    with pytest.raises(ExportError, match=r"differ from the model's by .* must be at most 0\.0001"):
        check(with_another_bias(content, change), answering, images)


def test_a_file_of_another_model_is_refused(bundle, make_bundle, params, prepared, images):
    content = onnx_of(Answering(bundle)).SerializeToString()
    manifest = prepared.manifest.model_copy(update={"class_names": ("one", "two")})

    with pytest.raises(ExportError, match="in a batch of 1"):
        check(content, Answering(make_bundle(params.models.cnn, seed=1)), images)
    with pytest.raises(ExportError, match="1 images by 1 x 3 probabilities, must be 1 x 2"):
        check(content, Answering(make_bundle(params.models.cnn, manifest=manifest)), images)
    with pytest.raises(ExportError, match="does not answer images of 1 x 9 x 9 x 1"):
        check(content, Answering(bundle), random_images(64, (9, 9, 1)))


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda _: b"", lambda _: b"words"])
def test_a_damaged_file_is_refused(bundle, images, damage):
    answering = Answering(bundle)

    with pytest.raises(ExportError, match="cannot be run by onnxruntime"):
        check(damage(onnx_of(answering).SerializeToString()), answering, images)


def test_nothing_is_written_of_a_model_that_answers_otherwise(bundle, monkeypatch):
    hotter = {**json.loads((bundle / SERVED).read_text()), "temperature": 0.5}
    Path("hotter").mkdir()
    for file in bundle.iterdir():
        (Path("hotter") / file.name).write_bytes(file.read_bytes())
    write_json(Path("hotter") / SERVED, hotter)
    other = onnx_of(Answering(Path("hotter")))
    monkeypatch.setattr("reconv.exporting.onnx.onnx_of", lambda _: other)

    with pytest.raises(ExportError, match="differ"):
        export_onnx(bundle, Path("out/model.onnx"))
    assert not Path("out").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(bundle, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(ExportError, match=rf"^{package} is missing: pip install 'reconv\[onnx\]'\.$"):
        export_onnx(bundle, Path("model.onnx"))


def test_a_model_that_is_too_large_for_a_file_is_refused(bundle, monkeypatch):
    monkeypatch.setattr("reconv.exporting.onnx._MAX_BYTES", 1000)

    with pytest.raises(ExportError, match="GiB, an ONNX file holds less than"):
        export_onnx(bundle, Path("model.onnx"))


def test_the_file_has_to_be_named_as_one(bundle):
    with pytest.raises(DataError, match=r"--out is model\.pt, must end in \.onnx"):
        export_onnx(bundle, Path("model.pt"))


def test_the_command_says_what_it_wrote_and_how_close_it_is(bundle):
    done = CliRunner().invoke(main, ["export", "--model", str(bundle), "--out", "out.onnx"])

    assert done.exit_code == 0
    assert "out.onnx · 0.0" in done.stdout
    assert "at most" in done.stdout
    assert "266 random images (tolerance 0.0001)" in done.stdout
    assert "to be done before: decode the file" in done.stdout
    assert Path("out.onnx").exists()


def test_the_command_says_it_as_json_too(bundle):
    done = CliRunner().invoke(main, ["export", "--model", str(bundle), "--json"])

    said = json.loads(done.stdout)
    assert said["onnx"]["size_bytes"] == Path("model.onnx").stat().st_size
    assert said["onnx"]["max_difference"] < said["onnx"]["tolerance"] == TOLERANCE
    assert said["int8"] is None


def test_8_bits_are_refused_without_images_before_anything_is_written(bundle):
    done = CliRunner().invoke(main, ["export", "--model", str(bundle), "--quantise"])

    assert done.exit_code == 1
    assert "data/prepared holds no images" in done.stderr
    assert not Path("model.onnx").exists()


def test_the_command_writes_8_bits_and_says_the_loss(bundle, prepared):
    PREPARED.parent.mkdir()
    PREPARED.symlink_to(PreparedData(prepared.folder).folder)

    done = CliRunner().invoke(main, ["export", "--model", str(bundle), "--quantise"])

    assert done.exit_code == 0
    assert "model.int8.onnx · 0.0" in done.stdout
    assert "accuracy on 15 test images: " in done.stdout
    assert " points " in done.stdout
    assert "on one core of this machine" in done.stdout
