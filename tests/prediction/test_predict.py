"""Any images -> a table of answers: what may be given, what is written, what a damaged file and an interruption do."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from preparing import PREPARED, fetch_and_prepare
from registry.conftest import COST

from reconv.data.arrays import PreparedData
from reconv.errors import DataError
from reconv.evaluation.evaluate import evaluate
from reconv.files import read_json, write_bytes, write_json
from reconv.models.classifier import new_classifier, weights_as_bytes
from reconv.params import THIS_MACHINE
from reconv.places import STATE
from reconv.prediction import predict as module
from reconv.prediction import workers
from reconv.prediction.predict import predict
from reconv.serving.answering import Answering
from reconv.serving.bundle import write_bundle
from reconv.training.fit import fit

CLASSES = ("left", "middle", "right")


@pytest.fixture(scope="module")
def data(make_prepared) -> PreparedData:
    """Whose images lie in PNG files in the folder that `data.report` names."""
    return make_prepared(60)


@pytest.fixture
def trained(data, make_job) -> Path:
    result = fit(make_job(epochs=3), data.manifest, data.train, data.validation, lambda *_: None)
    write_bytes(Path("seed-0/weights.safetensors"), result.weights)
    write_json(Path("seed-0/model.json"), result.arguments)
    return Path("seed-0")


@pytest.fixture
def bundle(trained, data) -> Path:
    write_bundle(Path("bundle"), trained, 1.7, data.manifest, "crop")
    return Path("bundle")


@pytest.fixture
def images(data) -> Path:
    """The folder that they were made from."""
    return Path(read_json(data.folder.parent / "raw" / "source.json")["source"].removeprefix("folder:"))


def answers_of(location: str | Path, bundle: Path, out: str = "out.parquet") -> pd.DataFrame:
    predict(str(location), bundle, Path(out), THIS_MACHINE)
    return pd.read_parquet(out) if out.endswith("parquet") else pd.read_csv(out)


def test_files_are_answered_exactly_as_evaluate_measured_them(bundle, trained, data, images, params):
    """From the source's files to probabilities: the same pixels, the same logits, the same temperature."""
    measured = evaluate({0: trained}, data, COST, params.evaluate).predictions
    temperature = Answering(bundle).served.temperature
    expected = np.exp(measured.filter(like="logit_").to_numpy(np.float64) / temperature)
    expected = (expected / expected.sum(axis=1, keepdims=True)).astype(np.float32)

    answers = answers_of(images, bundle).set_index("image")

    names = data.names("test", np.arange(len(data.test)))
    found = answers.loc[names].filter(like="probability_").to_numpy()
    np.testing.assert_array_equal(found, expected)
    assert (answers.loc[names, "class"].to_numpy() == np.array(CLASSES)[expected.argmax(axis=1)]).all()
    np.testing.assert_array_equal(answers.loc[names, "confidence"].to_numpy(), expected.max(axis=1))


def test_values_of_12_bits_and_transparency_are_read_as_in_training(params):
    """From `fetch` to the answers of the bundle: what `predict` reads is what was packed."""
    rng = np.random.default_rng(0)
    for number in range(24):
        path = Path(f"deep/{'ab'[number % 2]}/{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 4000, (8, 8)).astype(np.uint16)).save(path, transparency=7)
    section = params.data.model_copy(update={"source": "folder:deep", "transparency": "white"})
    manifest, _ = fetch_and_prepare(section)
    classifier = new_classifier("cnn", params.models.cnn, manifest)
    write_bytes(Path("deep-trained/weights.safetensors"), weights_as_bytes(classifier))
    write_json(Path("deep-trained/model.json"), classifier.arguments)
    write_bundle(Path("deep-bundle"), Path("deep-trained"), 1.0, manifest, "crop", section.transparency)

    answers = answers_of("deep", Path("deep-bundle")).set_index("image")

    packed = PreparedData(PREPARED)
    expected = Answering(Path("deep-bundle")).probabilities(packed.test.images).astype(np.float32)
    found = answers.loc[packed.names("test", np.arange(len(packed.test)))].filter(like="probability_").to_numpy()
    np.testing.assert_array_equal(found, expected)
    assert manifest.value_range == (0, 4095)
    assert packed.test.images[:].max() > 200


def test_packed_pixels_give_the_same_answers(bundle, data, images):
    packed = answers_of(data.folder / "test-images-000.npy", bundle)
    from_files = answers_of(images, bundle).set_index("image").loc[data.names("test", np.arange(len(data.test)))]

    assert packed["image"].iloc[1] == "[1]"
    columns = ["class", "confidence", *(f"probability_{name}" for name in CLASSES)]
    pd.testing.assert_frame_equal(packed[columns], from_files[columns].reset_index(drop=True))


def test_a_table_an_archive_and_a_single_image_are_read_too(bundle, images, folder):
    some = sorted(images.rglob("*.png"))[:5]
    table = images / "some.csv"
    pd.DataFrame({"file": [path.relative_to(images) for path in some]}).to_csv(table, index=False)
    with zipfile.ZipFile("some.zip", "w") as archive:
        for path in some:
            archive.write(path, path.relative_to(images))

    from_table = answers_of(table, bundle)
    table.unlink()

    assert from_table["image"].tolist() == [str(path.relative_to(images)) for path in some]
    pd.testing.assert_frame_equal(answers_of("some.zip", bundle), from_table)
    assert answers_of(some[0], bundle)["confidence"].tolist() == from_table["confidence"].tolist()[:1]


def test_what_is_an_image_is_known_by_its_content(bundle, images):
    Path("mixed/@eaDir/photo").mkdir(parents=True)
    photo = sorted(images.rglob("*.png"))[0].read_bytes()
    for name in ("photo", "photo.JPG.1", "@eaDir/photo/small.png", ".hidden.png"):
        Path("mixed", name).write_bytes(photo)
    Path("mixed/words.txt").write_text("words")

    done = predict("mixed", bundle, Path("out.parquet"), THIS_MACHINE)

    assert pd.read_parquet("out.parquet")["image"].tolist() == ["photo", "photo.JPG.1"]
    assert {group.reason: group.files for group in done.skipped} == {
        "not an image": ("words.txt",),
        "of the system": ("@eaDir",),
        "hidden": (".hidden.png",),
    }
    assert answers_of("mixed/photo", bundle)["image"].tolist() == ["photo"]


def test_images_behind_a_url_are_read_too(bundle, images, bucket):
    path = sorted(images.rglob("*.png"))[0]
    bucket.upload_file(str(path), "photos/one.png")

    assert answers_of("s3://parts/photos", bundle)["image"].tolist() == ["one.png"]
    assert answers_of("s3://parts/photos/one.png", bundle)["image"].tolist() == ["one.png"]


def test_images_of_other_sizes_become_what_the_training_saw(bundle, images):
    small = Image.open(sorted(images.rglob("*.png"))[0])
    Path("large").mkdir()
    small.resize((80, 80), Image.Resampling.NEAREST).convert("RGB").save("large/one.png")

    (answer,) = answers_of("large", bundle).to_dict("records")
    (as_it_was,) = answers_of(sorted(images.rglob("*.png"))[0], bundle).to_dict("records")
    assert answer["class"] == as_it_was["class"]
    assert answer["confidence"] == pytest.approx(as_it_was["confidence"], abs=0.02)


def test_what_cannot_be_decoded_is_named_and_stops_nothing(bundle, images):
    buffer = io.BytesIO()
    Image.open(sorted(images.rglob("*.png"))[0]).save(buffer, "PNG")
    Path("mixed").mkdir()
    Path("mixed/good.png").write_bytes(buffer.getvalue())
    Path("mixed/torn.png").write_bytes(buffer.getvalue()[:60])
    Path("mixed/empty.jpg").write_bytes(b"")
    Path("mixed/page.png").write_text("<html>")

    done = predict("mixed", bundle, Path("out.csv"), THIS_MACHINE)

    table = pd.read_csv("out.csv").set_index("image")
    assert done.num_problems == 3
    assert set(done.problems) == {"torn.png", "empty.jpg", "page.png"}
    assert table.loc["good.png", "class"] in CLASSES
    assert pd.isna(table.loc["good.png", "problem"])
    assert table.loc["torn.png", ["class", "confidence", "probability_left"]].isna().all()
    assert "0 bytes" in table.loc["empty.jpg", "problem"]


def test_an_interrupted_call_goes_on_where_it_was(bundle, images, monkeypatch):
    monkeypatch.setattr("reconv.prediction.inputs._CHUNK_FILES", 50)
    whole = answers_of(images, bundle, "whole.parquet")
    asked: list[int] = []
    real = workers._Answerer.probabilities

    def interrupted(self, pixels):
        asked.append(len(pixels))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return real(self, pixels)

    monkeypatch.setattr(workers._Answerer, "probabilities", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(str(images), bundle, Path("out.parquet"), THIS_MACHINE)
    assert not Path("out.parquet").exists()

    done = predict(str(images), bundle, Path("out.parquet"), THIS_MACHINE)

    assert done.answered_before == 100
    assert asked == [50, 50, 50, 50, 30]
    pd.testing.assert_frame_equal(pd.read_parquet("out.parquet"), whole)
    assert list((STATE / "predict").iterdir()) == []


def test_what_is_kept_is_not_taken_for_that_of_another_model_or_of_other_files(bundle, trained, data, images):
    keys = set()
    other = Path("other")
    write_bundle(other, trained, 0.9, data.manifest, "crop")
    for folder, model in ((images, bundle), (images, other), (images / "left", bundle)):
        with module.open_inputs(str(folder), STATE) as inputs:
            keys.add((inputs.digest, module.identity(model)))
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("nothing", "nothing does not exist"),
        ("empty", "empty holds no image"),
        ("words.txt", "words.txt is none of: a folder"),
        ("flat.npy", "flat.npy is 3, must be images x height x width x channels"),
        ("large.npy", "holds images of 9 x 9 x 1, the model takes 8 x 8 x 1"),
    ],
)
def test_what_cannot_be_predicted_is_named(bundle, location, said):
    Path("empty").mkdir()
    Path("words.txt").write_text("words")
    np.save("flat.npy", np.zeros(3, np.uint8))
    np.save("large.npy", np.zeros((2, 9, 9, 1), np.uint8))

    with pytest.raises(DataError, match=said):
        predict(location, bundle, Path("out.parquet"), THIS_MACHINE)


def test_the_table_has_to_be_of_a_known_format(bundle, images):
    with pytest.raises(DataError, match=r"must end in \.parquet or \.csv"):
        predict(str(images), bundle, Path("out.xlsx"), THIS_MACHINE)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("gpus", [0, 1])
def test_cores_and_gpus_answer_as_this_process_does(bundle, images, monkeypatch, gpus):
    """A GPU that the cluster only counts."""
    from ray.cluster_utils import Cluster

    alone = answers_of(images, bundle, "alone.parquet")
    monkeypatch.setattr("reconv.prediction.inputs._CHUNK_FILES", 25)
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=2, num_gpus=gpus)
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    try:
        together = answers_of(images, bundle, "together.parquet")
    finally:
        nodes.shutdown()

    pd.testing.assert_frame_equal(together, alone)


@pytest.mark.ray
@pytest.mark.slow
def test_many_images_are_spread_over_the_cores_of_this_machine(bundle, images, monkeypatch):
    alone = answers_of(images, bundle, "alone.parquet")
    monkeypatch.setattr("reconv.prediction.inputs._CHUNK_FILES", 25)
    monkeypatch.setattr(workers, "_FEW_IMAGES", 0)

    pd.testing.assert_frame_equal(answers_of(images, bundle, "spread.parquet"), alone)


@pytest.mark.ray
@pytest.mark.slow
def test_pixels_of_another_size_are_refused_by_workers_too(bundle, monkeypatch):
    np.save("large.npy", np.zeros((2, 9, 9, 1), np.uint8))
    monkeypatch.setattr(workers, "_FEW_IMAGES", 0)

    with pytest.raises(DataError, match="the model takes 8 x 8 x 1"):
        predict("large.npy", bundle, Path("out.parquet"), THIS_MACHINE)
