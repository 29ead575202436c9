"""The whole of `dvc repro` on a folder of generated images: outputs, MLflow, the registered model, what is repeated."""

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import REPOSITORY, _tiny_values, write_images
from project_folder import change_params, commit_all, copy_pipeline, environment, git

pytestmark = [pytest.mark.ray, pytest.mark.slow]

MODELS = ("cnn", "feedforward")


def repro(folder: Path) -> str:
    done = subprocess.run(
        ["dvc", "repro"], cwd=folder, env=environment(), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder in which the pipeline ran once."""
    folder = tmp_path_factory.mktemp("project")
    write_images(folder / "images", per_class=40)
    (folder / "params.yaml").write_text(yaml.safe_dump(_tiny_values(), sort_keys=False))
    copy_pipeline(REPOSITORY, folder)
    (folder / "output.txt").write_text(repro(folder))
    return folder


@pytest.fixture(scope="module")
def client(finished):
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{finished}/mlflow.db")


def test_what_one_sees_is_a_few_plain_lines(finished):
    output = (finished / "output.txt").read_text()
    assert "\033" not in output
    assert "Warning" not in output
    for line in ("[fetch]", "[prepare]", "[search]   cnn", "[train]    feedforward", "[evaluate] cnn", "verdict"):
        assert line in output
    own = [line for line in output.splitlines() if line.startswith("[")]
    assert len(own) < 25


@pytest.mark.parametrize("model", MODELS)
def test_every_stage_leaves_what_it_promises(finished, model):
    results = finished / "results"
    budget = json.loads((results / "search" / model / "budget.json").read_text())
    assert budget["spent_epochs"] == budget["budget_epochs"] == 2 * 4
    choices = json.loads((results / "search" / model / "best.json").read_text())["choices"]
    for seed, choice in enumerate(choices):
        trained = json.loads((results / "train" / model / f"seed-{seed}" / "model.json").read_text())
        assert trained["network"]["widths"] == choice["values"]["widths"]
    curves = pd.read_csv(results / "train" / model / "curves.csv")
    assert sorted(zip(curves["seed"], curves["epoch"], strict=True)) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    predictions = pd.read_parquet(results / "evaluate" / model / "predictions.parquet")
    metrics = json.loads((results / "evaluate" / model / "metrics.json").read_text())
    correct = predictions.filter(like="logit_").to_numpy().argmax(axis=1) == predictions["label"]
    assert metrics["accuracy"]["seeds"] == pytest.approx(correct.groupby(predictions["seed"]).mean().tolist())


def test_nothing_is_left_half_written(finished):
    assert not list(finished.rglob("*.tmp"))
    assert not (finished / ".reconv" / "pipeline.json").exists()


def test_runs_are_nested_as_the_pipeline_is(finished, client):
    experiment = client.get_experiment_by_name("folder-images")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    parent_of = {run.info.run_id: run.data.tags.get("mlflow.parentRunId") for run in runs}
    (pipeline,) = [run for run in runs if parent_of[run.info.run_id] is None]
    stages = {run.info.run_name: run for run in runs if parent_of[run.info.run_id] == pipeline.info.run_id}
    assert set(stages) == {"fetch", "prepare", "explain", "study", "compare", "register"} | {
        f"{stage} {model}" for stage in ("search", "train", "evaluate") for model in MODELS
    }
    assert {run.info.status for run in runs} == {"FINISHED"}
    trainings = pd.read_csv(finished / "results" / "study" / "trainings.csv")
    studied = [run for run in runs if parent_of[run.info.run_id] == stages["study"].info.run_id]
    assert sorted(run.info.run_name for run in studied) == sorted(
        f"{row.variant} {row.model} {row.seed}".replace("-", " ") for row in trainings.itertuples()
    )
    for model in MODELS:
        seeds = [run for run in runs if parent_of[run.info.run_id] == stages[f"train {model}"].info.run_id]
        assert sorted(run.info.run_name for run in seeds) == ["seed 0", "seed 1"]
        trials = [run for run in runs if parent_of[run.info.run_id] == stages[f"search {model}"].info.run_id]
        table = pd.read_csv(finished / "results" / "search" / model / "trials.csv")
        logged = {
            run.info.run_name: client.get_metric_history(run.info.run_id, "validation/accuracy") for run in trials
        }
        assert {name: len(history) for name, history in logged.items()} == {
            f"trial {row.trial:02d}": row.epochs for row in table.itertuples()
        }
        evaluation = stages[f"evaluate {model}"]
        metrics = json.loads((finished / "results" / "evaluate" / model / "metrics.json").read_text())
        assert evaluation.data.metrics["test/accuracy"] == metrics["accuracy"]["mean"]
        assert evaluation.inputs.dataset_inputs[0].dataset.name == "folder-images"
    text = json.loads((finished / "results" / "compare" / "verdict.json").read_text())["text"]
    assert text in pipeline.data.tags["mlflow.note.content"]
    assert {file.path for file in client.list_artifacts(pipeline.info.run_id)} >= {"report.html", "verdict.json"}


def test_every_run_leads_to_its_inputs_and_every_output_to_its_run(finished, client):
    lock = yaml.safe_load((finished / "dvc.lock").read_text())
    prepared = next(out["md5"] for out in lock["stages"]["prepare"]["outs"] if out["path"] == "data/prepared")
    for name in ("search-cnn", "train-feedforward", "evaluate-cnn", "compare"):
        run_id = json.loads((finished / "results" / "runs" / f"{name}.json").read_text())["run_id"]
        run = client.get_run(run_id)
        assert run.info.run_name == name.replace("-", " ")
        assert run.data.tags["dvc.data/prepared"] == prepared


SERVE = """
import sys, mlflow, numpy as np
served = mlflow.pyfunc.load_model(sys.argv[1])
answer = served.predict(np.load("data/prepared/test-images-000.npy"))
assert np.allclose([sum(one.values()) for one in answer["probabilities"]], 1)
answer["class"].to_csv("answer.csv", index=False)
"""


def test_the_registered_model_classifies_raw_images(finished):
    registered = json.loads((finished / "results" / "register.json").read_text())
    subprocess.run(
        [sys.executable, "-c", SERVE, f"models:/{registered['name']}@{registered['alias']}"],
        cwd=finished,
        env=environment(MLFLOW_TRACKING_URI=f"sqlite:///{finished}/mlflow.db"),
        check=True,
        timeout=120,
    )
    labels = np.load(finished / "data" / "prepared" / "test-labels.npy")
    expected = np.array(["left", "middle", "right"])[labels]
    accuracy = (pd.read_csv(finished / "answer.csv")["class"] == expected).mean()
    metrics = json.loads((finished / "results" / "evaluate" / registered["model"] / "metrics.json").read_text())
    assert accuracy == metrics["accuracy"]["seeds"][registered["seed"]]


def stages_that_ran(output: str) -> list[str]:
    """All but the check of the registry, which runs each time."""
    ran = [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
    return [stage for stage in ran if stage != "registry"]


def test_nothing_to_do_repeats_nothing(finished):
    began = time.monotonic()
    assert stages_that_ran(repro(finished)) == []
    assert time.monotonic() - began < 60  # no figure, only that no stage ran


def test_where_it_runs_invalidates_nothing(finished):
    change_params(finished, {"resources.cpus_per_trial": 2, "resources.gpus_per_trial": 0})
    assert stages_that_ran(repro(finished)) == []


def test_a_value_of_compare_repeats_compare_and_what_follows(finished):
    change_params(finished, {"compare.confidence": 0.9})
    assert stages_that_ran(repro(finished)) == ["compare", "register"]


def test_the_study_explains_and_may_be_left_out(finished):
    study, page = finished / "results" / "study" / "study.json", finished / "results" / "compare" / "report.html"
    findings = json.loads(study.read_text())["findings"]
    assert [one["name"] for one in findings][:2] == ["space", "same_size"]
    assert "Why?" in page.read_text()

    change_params(finished, {"study.enabled": False})
    assert stages_that_ran(repro(finished))[:2] == ["study", "compare"]
    assert json.loads(study.read_text())["findings"] == []
    assert "Why?" not in page.read_text()


def test_a_copy_and_its_experiments_leave_the_original_alone_and_may_be_moved(finished, tmp_path):
    copy, registered = tmp_path / "copy", json.loads((finished / "results" / "register.json").read_text())
    subprocess.run(["cp", "-r", finished, copy], check=True)
    before = store_of(finished)
    (copy / ".dvc" / "config").write_text("")  # with git from now on
    with (copy / ".gitignore").open("a") as ignored:  # which DVC does itself where there is git
        ignored.write("/results/regist*.json\n/results/runs/register.json\n")
    git(copy, "init", "--quiet")
    git(copy, "config", "user.name", "test")
    git(copy, "config", "user.email", "test@example.com")
    commit_all(copy)
    experiment = ["dvc", "exp", "run", "--temp", "-S", "register.false_promotion=0.04"]

    done = subprocess.run(experiment, cwd=copy, env=environment(), capture_output=True, text=True, check=False)
    moved = copy.rename(tmp_path / "moved")
    verify = ["reconv", "models", "verify", str(registered["version"])]
    verified = subprocess.run(verify, cwd=moved, env=environment(), capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"registered  images version {registered['version']}, " in done.stdout  # it found the registry
    assert num_runs(moved) == num_runs(finished) + 2  # of a pipeline and of its stage
    assert store_of(finished) == before
    assert verified.returncode == 0, verified.stdout + verified.stderr


def num_runs(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        return int(store.execute("SELECT count(*) FROM runs").fetchone()[0])


def store_of(folder: Path) -> dict[str, tuple[int, int]]:
    files = [folder / "mlflow.db", *(path for path in (folder / "mlartifacts").rglob("*") if path.is_file())]
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}
