"""The registered champion behind `mlflow models serve`: real HTTP requests, as the documentation shows them."""

import base64
import io
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import REPOSITORY
from debian import program
from PIL import Image
from project_folder import environment, free_port
from registry.conftest import outcome_of

from reconv.registry.opening import open_registry
from reconv.registry.register import register
from reconv.serving.answering import Answering
from reconv.tracking.opening import open_stage_run

pytestmark = pytest.mark.slow
_START_SECONDS = 120
_IMAGE_SECONDS = 0.6


@dataclass
class Served:
    url: str
    images: np.ndarray
    probabilities: np.ndarray

    def ask(self, body: object, kind: str = "application/json") -> tuple[int, dict]:
        """Status and answer."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/invocations", content, {"Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


@pytest.fixture(scope="module")
def served(tmp_path_factory, make_prepared, tiny_params) -> Iterator[Served]:
    folder, data = tmp_path_factory.mktemp("served"), make_prepared(60)
    with chdir(folder):
        outcome = outcome_of(data, tiny_params, epochs=6, seed=0, lr=1e-2)
        registry = open_registry(tiny_params)
        with open_stage_run(tiny_params, "register", None, lambda _: None) as run:
            assert register(outcome, data, tiny_params, run, registry).alias == "champion"
        answering = Answering(registry.bundle(registry.version("champion")).resolve())
    port = free_port()
    command = [str(Path(sys.executable).with_name("mlflow")), "models", "serve", "--env-manager", "local"]
    command += ["-m", f"models:/{registry.name}@champion", "--host", "127.0.0.1", "--port", str(port)]
    variables = environment(
        MLFLOW_TRACKING_URI=f"sqlite:///{folder}/mlflow.db", RECONV_REQUEST_IMAGE_SECONDS=str(_IMAGE_SECONDS)
    )
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, server, folder / "server.log")
        images = np.array(data.test.images[:4])
        yield Served(url, images, answering.probabilities(images))
    finally:
        with suppress(psutil.NoSuchProcess):  # it ended by itself, which `_wait` tells
            for process in psutil.Process(server.pid).children(recursive=True):
                process.kill()
        server.kill()
        server.wait()


def _wait(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def base64_of(image: np.ndarray, kind: str = "PNG", size: int = 8) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0]).resize((size, size), Image.Resampling.NEAREST).save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_json_arrays_are_answered_with_calibrated_probabilities(served, key):
    status, answer = served.ask({key: served.images.tolist()})

    assert status == 200
    found = [list(one["probabilities"].values()) for one in answer["predictions"]]
    np.testing.assert_allclose(found, served.probabilities, atol=1e-6)
    names = [*answer["predictions"][0]["probabilities"]]
    for one, probabilities in zip(answer["predictions"], served.probabilities, strict=True):
        assert one["class"] == names[probabilities.argmax()]
        assert one["confidence"] == pytest.approx(probabilities.max(), abs=1e-6)


def test_files_as_base64_are_answered_alike_in_every_form(served):
    files = [base64_of(image) for image in served.images]
    bodies = [
        {"inputs": files},
        {"instances": files},
        {"instances": [{"b64": file} for file in files]},
        {"dataframe_split": {"columns": ["image"], "data": [[file] for file in files]}},
        {"dataframe_records": [{"image": file} for file in files]},
    ]
    for body in bodies:
        status, answer = served.ask(body)
        assert status == 200, answer
        found = [list(one["probabilities"].values()) for one in answer["predictions"]]
        np.testing.assert_allclose(found, served.probabilities, atol=1e-6)


def test_the_documented_request_is_answered_as_documented(served, tmp_path):
    """docs/every-night.md's own lines, with the port of this server."""
    program("curl", "curl")
    page = (REPOSITORY / "docs" / "every-night.md").read_text()
    command = re.search(r"^curl http://127.0.0.1:5001/invocations.*?\"$", page, re.MULTILINE | re.DOTALL)
    documented = json.loads(re.search(r'^\{"predictions": .*$', page, re.MULTILINE)[0])
    (tmp_path / "photo.jpg").write_bytes(base64.b64decode(base64_of(served.images[0], "JPEG", 64)))

    asked = command[0].replace("http://127.0.0.1:5001", served.url)
    done = subprocess.run(["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True)

    (answer,) = json.loads(done.stdout)["predictions"]
    assert set(answer) == set(documented["predictions"][0])
    assert sum(answer["probabilities"].values()) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_file_may_have_any_size(served, kind):
    status, answer = served.ask({"inputs": [base64_of(served.images[0], kind, 64)]})

    assert status == 200
    _, as_pixels = served.ask({"inputs": served.images[:1].tolist()})
    assert answer["predictions"][0]["class"] == as_pixels["predictions"][0]["class"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"inputs": ["no base64!"]}, "image 0 is text, but not base64 of an image file"),
        ({"inputs": [base64.b64encode(b"<html>").decode()]}, "image 0 cannot be decoded"),
        ({"inputs": [[[1, 2], [3, 4]]]}, "must be N x 8 x 8 x 1"),
        ({"inputs": []}, "no image in the request"),
        ({"inputs": np.full((1, 8, 8, 1), 0.5).tolist()}, "not scaled to 0 to 1"),
        ({"inputs": np.full((1, 8, 8, 1), 300).tolist()}, "numbers of 0 to 255"),
        ({"dataframe_split": {"columns": ["picture"], "data": [["a"]]}}, "needs a column named image or b64"),
        ({"pictures": []}, "instances"),
        (b"{broken", "JSON"),
    ],
)
def test_a_bad_request_gets_a_400_that_says_why(served, body, said):
    status, answer = served.ask(body)

    assert status == 400
    assert said in answer["message"]


def test_a_refused_image_is_named_first_and_the_request_is_not_repeated(served):
    status, answer = served.ask({"inputs": [base64_of(served.images[0]), base64.b64encode(b"<html>").decode()]})

    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert answer["message"] == "image 1 cannot be decoded (no format that is read)."


def test_too_many_images_get_a_413_that_names_the_limit_and_repeats_nothing(served):
    status, answer = served.ask({"inputs": ["AAAA"] * 10_001})

    assert status == 413
    assert answer["message"] == (
        "the request has 10,001 images, must have at most 10,000 of 8 x 8 x 1: send them in several requests."
    )


def test_a_slow_file_is_refused_while_others_are_answered(served):
    buffer = io.BytesIO()
    Image.new("RGB", (10_000, 9_999)).save(buffer, "PNG")
    slow_body = {"inputs": [base64.b64encode(buffer.getvalue()).decode()]}
    body = {"inputs": [base64_of(served.images[0])]}
    assert served.ask(body)[0] == 200
    with ThreadPoolExecutor() as other:
        slow = other.submit(served.ask, slow_body)
        answered = 0
        while not slow.done():
            assert served.ask(body)[0] == 200
            answered += 1

    status, answer = slow.result()
    assert (status, f"image 0 needs more than {_IMAGE_SECONDS} s of processor time" in answer["message"]) == (400, True)
    assert answered > 3


def test_what_is_no_json_is_refused(served):
    request = urllib.request.Request(f"{served.url}/invocations", b"pixels", {"Content-Type": "image/png"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    with refused.value as error:
        assert error.code == 415
