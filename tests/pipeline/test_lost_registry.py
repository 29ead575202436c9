"""MLflow's registry loses what was registered, in each way that users reported: `dvc repro` and `reconv retrain`
register it again from what is in the folder, and undo nothing that a person decided."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY, _tiny_values, write_images
from mlflow.tracking import MlflowClient
from project_folder import QUICK, change_params, copy_pipeline, environment

pytestmark = [pytest.mark.ray, pytest.mark.slow]

BIN = Path(sys.executable).parent
# The baseline learns nothing, so that there is a winner.
_ONE_WINS = {
    "search.space.feedforward": {"lr": {"loguniform": [1e-7, 2e-7]}},
    "models.feedforward.batch_norm": False,
    "train.max_epochs": 12,
}


def run(folder: Path, *words: str, **changes: str) -> str:
    done = subprocess.run(
        [str(BIN / words[0]), *words[1:]],
        cwd=folder,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In which the pipeline ran once; its model is the champion."""
    folder = tmp_path_factory.mktemp("lost")
    write_images(folder / "images", per_class=60)
    (folder / "params.yaml").write_text(yaml.safe_dump(_tiny_values(), sort_keys=False))
    change_params(folder, {**QUICK, **_ONE_WINS})
    copy_pipeline(REPOSITORY, folder)
    run(folder, "dvc", "repro")
    assert registration(folder)["alias"] == "champion"
    return folder


def registration(folder: Path) -> dict:
    return json.loads((folder / "results" / "register.json").read_text())


def client(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


def champion(folder: Path) -> int:
    return int(client(folder).get_model_version_by_alias("images", "champion").version)


def looks(folder: Path) -> list[int]:
    """Numbers of the comparisons on the test images."""
    tags = client(folder).get_registered_model("images").tags
    return [json.loads(value)["number"] for key, value in tags.items() if key.startswith("reconv.comparison.")]


def test_without_a_loss_nothing_runs_but_the_check(project: Path) -> None:
    output = run(project, "dvc", "repro")

    ran = [line for line in output.splitlines() if line.startswith(("Running stage", "["))]
    assert ran == ["Running stage 'registry':"]


def test_a_store_that_was_moved_away_gets_its_champion_again_by_dvc_alone(project: Path) -> None:
    (project / "mlflow.db").rename(project / "moved.db")
    assert "is not in MLflow's registry" in run(project, "reconv", "doctor")

    output = run(project, "dvc", "repro")

    assert "[registry] images version 1 is not in MLflow's registry" in output
    assert [line for line in output.splitlines() if line.startswith("Running")] == [
        "Running stage 'registry':",
        "Running stage 'register':",
    ]
    assert (champion(project), looks(project)) == (1, [1])
    assert "Running stage 'register'" not in run(project, "dvc", "repro")
    assert run(project, "reconv", "retrain").startswith("[retrain]  unchanged (")


def test_a_version_that_was_deleted_is_registered_again_by_the_schedule(project: Path) -> None:
    number = champion(project)
    client(project).delete_model_version("images", str(number))

    output = run(project, "reconv", "retrain")

    assert f"images version {number} is not in MLflow's registry" in output
    assert f"promoted: version {number + 1}" in output
    assert champion(project) == registration(project)["version"] == number + 1
    assert looks(project) == [1]
    assert run(project, "reconv", "predict", "images", "--out", "answers.csv")


def test_an_alias_that_is_gone_is_set_again_and_no_version_made(project: Path) -> None:
    number = champion(project)
    client(project).delete_registered_model_alias("images", "champion")

    assert "was the champion, and MLflow's registry" in run(project, "dvc", "repro")

    assert (champion(project), looks(project)) == (number, [1])


def test_another_store_gets_it_too(project: Path, tmp_path: Path) -> None:
    """As on a new machine after `dvc pull`."""
    uri = f"sqlite:///{tmp_path / 'other.db'}"

    run(project, "dvc", "repro", MLFLOW_TRACKING_URI=uri)

    found = MlflowClient(uri).get_model_version_by_alias("images", "champion")
    assert found.tags["model"] == "cnn"


def test_what_a_person_decided_is_left_alone(project: Path) -> None:
    run(project, "dvc", "repro")  # the other store's registration may have another number
    other = client(project).create_model_version("images", "file:///gone")
    client(project).set_registered_model_alias("images", "champion", other.version)

    output = run(project, "dvc", "repro")

    assert "Running stage 'register'" not in output
    assert champion(project) == int(other.version)


def test_a_server_that_is_away_is_said_and_nothing_is_registered(project: Path) -> None:
    away = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}
    before = registration(project)

    assert "not checked whether MLflow still has what was registered: MLflow at" in run(project, "dvc", "repro", **away)
    night = run(project, "reconv", "retrain", **away)

    assert "not checked whether MLflow still has what was registered: MLflow at" in night
    assert "unchanged (" in night
    assert registration(project) == before


def test_what_earlier_versions_wrote_is_compared_as_well(project: Path) -> None:
    """Their register.json names no candidate."""
    path = project / "results" / "register.json"
    known = registration(project)
    path.unlink()
    path.write_text(
        json.dumps({k: v for k, v in known.items() if k not in ("comparison", "identity", "screen", "times_lost")})
    )
    shutil.rmtree(project / "mlartifacts")
    (project / "mlflow.db").unlink()

    assert "is not in MLflow's registry" in run(project, "reconv", "retrain")

    # By the command: this process's client has the file open that is gone.
    versions = json.loads(run(project, "reconv", "models", "--json"))["versions"]
    assert [one["version"] for one in versions if "champion" in one["aliases"]] == [1]
