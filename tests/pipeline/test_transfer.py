"""A network of torchvision's in the place of the CNN, from the search to the verdict."""

import json

import pytest
import torch
from project_folder import change_params
from torchvision.models import get_model

from reconv.artifacts import Best
from reconv.files import sha256_of_file

pytestmark = [pytest.mark.ray, pytest.mark.slow]

NAME = "mobilenet_v3_small"
SPACE = {"lr": {"loguniform": [1e-3, 3e-3]}, "optimizer": {"choice": ["adamw"]}}


@pytest.fixture
def transfer_project(project, run_stage, of_torchvision):
    """Prepared; what MobileNet begins with lies beside params.yaml, of random values."""
    torch.manual_seed(0)
    torch.save(get_model(NAME, weights=None).state_dict(), project / "weights.pth")
    change_params(
        project,
        {
            **of_torchvision(NAME, weights="weights.pth"),
            "search.space.cnn": SPACE,
            "search.budget_epochs": 2,
            "search.max_epochs": 1,
            "train.num_seeds": 1,
            "study.enabled": False,
        },
    )
    for name in ("fetch", "prepare"):
        done = run_stage(name)
        assert done.returncode == 0, done.stdout
    return project


def test_it_is_searched_trained_explained_and_compared_as_the_cnn(transfer_project, run_stage):
    for words in (
        ("search", "cnn"),
        ("search", "feedforward"),
        ("train", "cnn"),
        ("train", "feedforward"),
        ("evaluate", "cnn"),
        ("evaluate", "feedforward"),
        ("explain",),
        ("study",),
        ("compare",),
    ):
        done = run_stage(*words)
        assert done.returncode == 0, done.stdout + done.stderr

    results, digest = transfer_project / "results", sha256_of_file(transfer_project / "weights.pth")
    trained = json.loads((results / "train" / "cnn" / "seed-0" / "model.json").read_text())
    assert trained["network"]["model"] == f"torchvision:{NAME}"
    assert (trained["weights_sha256"], trained["input_shape"]) == (digest, [224, 224, 3])
    assert Best.load(results / "search" / "cnn" / "best.json").choices[0].values["optimizer"] == "adamw"
    verdict = json.loads((results / "compare" / "verdict.json").read_text())
    assert f"CNN (torchvision:{NAME}, pretrained)" in verdict["text"]
    assert digest[:12] in verdict["notes"][0]
    (line,) = (line for line in verdict["audit"] if line["is_unequal"])
    assert (line["name"], line["feedforward"]) == ("pretrained weights", "none")
    page = (results / "compare" / "report.html").read_text()
    assert "not the same" in page and 'id="figure-answers"' in page and 'id="figure-patches"' not in page


def test_weights_that_cannot_be_had_stop_the_search_before_it_begins(transfer_project, run_stage):
    change_params(transfer_project, {"models.cnn.weights": "default"})
    nowhere = "http://127.0.0.1:9"  # the port `discard`: nothing listens there

    done = run_stage(
        "search", "cnn", https_proxy=nowhere, HTTPS_PROXY=nowhere, TORCH_HOME=str(transfer_project / "hub")
    )

    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "cannot be downloaded" in done.stdout
    file = "mobilenet_v3_small-047dcff4.pth"
    assert f"Copy https://download.pytorch.org/models/{file} to" in done.stdout
    assert f"hub/hub/checkpoints/{file}" in "".join(done.stdout.split())
    assert not (transfer_project / "results" / "search").exists()
