"""`reconv retrain` as a schedule calls it, on a growing folder of images: what is new, what is kept, what stops it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import REPOSITORY, _tiny_values, write_images
from debian import program
from mlflow.tracking import MlflowClient
from project_folder import QUICK, change_params, copy_pipeline, environment

pytestmark = [pytest.mark.ray, pytest.mark.slow]

RECONV = str(Path(sys.executable).with_name("reconv"))
_SECONDS = 600


def reconv(folder: Path, *words: str, **changes: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [RECONV, *words],
        cwd=folder,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


def last_record(folder: Path) -> dict:
    return json.loads((folder / "logs" / "retrain" / "last.json").read_text())


def versions(folder: Path) -> list[dict]:
    return json.loads(reconv(folder, "models", "--json").stdout)["versions"]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """That was retrained once; its model is the champion."""
    folder = tmp_path_factory.mktemp("retrained")
    write_images(folder / "images", per_class=40)
    (folder / "params.yaml").write_text(yaml.safe_dump(_tiny_values(), sort_keys=False))
    change_params(folder, QUICK)
    copy_pipeline(REPOSITORY, folder)
    first = reconv(folder, "retrain")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Warning" not in first.stdout + first.stderr
    assert reconv(folder, "promote", "1", "--reason", "the first").returncode == 0
    return folder


def test_the_first_time_everything_is_new(project):
    record = last_record(project)

    assert record["ended"] in ("promoted", "kept")
    assert {"prepare", "train@cnn", "register"} <= set(record["stages"])
    assert record["cost"]["device_seconds"] > 0
    assert [one["version"] for one in versions(project)] == [1]


def test_with_nothing_new_it_leaves_at_once(project):
    before = sorted(path.name for path in (project / "logs").iterdir())

    night = reconv(project, "retrain")

    assert (night.returncode, night.stderr) == (0, "")
    assert night.stdout.startswith("[retrain]  unchanged (")
    assert len(night.stdout.splitlines()) == 1
    assert last_record(project)["ended"] == "unchanged"
    assert json.loads(reconv(project, "retrain", "--dry-run", "--json").stdout)["ended"] == "unchanged"
    assert sorted(path.name for path in (project / "logs").iterdir()) == before


def test_the_champion_answers_and_is_exported_under_its_name(project):
    answered = reconv(project, "predict", "images", "--json")
    exported = reconv(project, "export", "--model", "champion", "--json")

    assert answered.returncode == 0, answered.stdout + answered.stderr
    table = pd.read_parquet(project / "predictions.parquet")
    assert len(table) == json.loads(answered.stdout)["images"] == 120
    assert exported.returncode == 0, exported.stdout + exported.stderr
    assert (project / "model.onnx").stat().st_size > 0


def test_a_second_one_says_who_is_at_work_and_leaves(project):
    holder = (
        "import time; from reconv.running import run_alone\n"
        "with run_alone('retrain', print): print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", holder], cwd=project, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout.readline() == "held\n"
        second = reconv(project, "retrain")
        held.kill()

    assert second.returncode == 75
    assert f"another one runs retrain in this project (process {held.pid} on " in second.stdout
    assert reconv(project, "retrain").returncode == 0


def test_a_source_that_is_away_is_named_and_the_next_night_goes_on(project):
    (project / "images").rename(project / "away")
    failed = reconv(project, "retrain")
    (project / "away").rename(project / "images")

    assert failed.returncode == 1
    assert "stopped: " in failed.stdout
    assert "images cannot be read" in failed.stdout
    assert last_record(project)["ended"] == "failed"
    assert reconv(project, "retrain").stdout.startswith("[retrain]  unchanged (")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts cron")
def test_a_real_cron_calls_it_and_a_schedule_that_fires_twice_does_no_harm(project):
    cron, schedule = program("cron", "cron"), Path("/etc/cron.d/reconv-test")
    (project / ".venv").symlink_to(sys.prefix)
    text = (REPOSITORY / "pipeline" / "schedule" / "crontab").read_text()
    variables, line = re.sub(r"^PROJECT=.*", f"PROJECT={project.name}", text, flags=re.MULTILINE).rsplit("\n", 2)[:2]
    every_minute = line.replace("0 2 * * *", "* * * * * root")
    assert every_minute != line
    log = project / "logs" / "retrain.log"
    try:
        schedule.write_text(f"{variables}\nHOME={project.parent}\n{every_minute}\n{every_minute}\n")
        with subprocess.Popen([cron, "-f"]) as daemon:
            deadline = time.monotonic() + 150
            while not (log.exists() and len(log.read_text().splitlines()) >= 2) and time.monotonic() < deadline:
                time.sleep(0.5)
            daemon.kill()
    finally:
        schedule.unlink()
    lines = log.read_text().splitlines()
    assert any(one.startswith("[retrain]  unchanged (") for one in lines)
    assert all("unchanged (" in one or "another one runs retrain" in one or one.startswith(" ") for one in lines)
    assert [one["version"] for one in versions(project)] == [1]


@pytest.fixture(scope="module")
def grown(project) -> Path:
    """With new images, of which most are of one class; retrained, killed while it trained, and retrained again."""
    write_images(project / "new", per_class=30, seed=7)
    for number, path in enumerate(sorted((project / "new").rglob("*.png"))):
        if path.parent.name == "left" or number % 6 == 0:
            shutil.copy(path, project / "images" / path.parent.name / f"new-{path.name}")
    killed = _killed_in_training(project)
    (project / "killed.txt").write_text(killed)
    again = reconv(project, "retrain")
    assert again.returncode == 0, again.stdout + again.stderr
    (project / "again.txt").write_text(again.stdout)
    return project


def _killed_in_training(folder: Path) -> str:
    """Once the CNN's search has its log: all of it, as by a machine that goes down."""
    with (folder / "killed.txt").open("w") as output:
        process = subprocess.Popen(
            [RECONV, "retrain"], cwd=folder, env=environment(), stdout=output, stderr=output, start_new_session=True
        )
    began, log = time.time(), folder / "logs" / "search-cnn"
    while not any(path.stat().st_mtime > began for path in log.glob("*.log")):
        assert process.poll() is None, (folder / "killed.txt").read_text()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return (folder / "killed.txt").read_text()


def test_new_images_are_counted_and_their_drift_is_said_before_training(grown):
    output, count = (grown / "killed.txt").read_text(), len([*(grown / "images").rglob("new-*.png")])

    assert f"new: {count} images added" in output
    assert f"{count} new images, unlike those that the champion was trained on: " in output
    assert re.search(r'classes: "left" 7\d\.\d% instead of 33\.3%', output)


def test_after_a_crash_the_next_one_goes_on_and_nothing_is_there_twice(grown):
    output, record = (grown / "again.txt").read_text(), last_record(grown)

    assert "goes on where the last one was interrupted" in output
    assert record["resumed"]
    assert record["ended"] in ("promoted", "kept")
    last = record["contest"] or record["screen"]
    assert last["champion"] == "1"
    assert last.get("number", 2) == 2
    assert "Running stage 'prepare'" not in output
    assert [one["version"] for one in versions(grown)] == [2, 1]
    client = MlflowClient(f"sqlite:///{grown}/mlflow.db")
    (experiment,) = [one for one in client.search_experiments() if one.name == "folder-images"]
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    searches = [run for run in runs if run.info.run_name == "search cnn"]
    assert len(searches) == 2
    for search in searches:
        trials = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == search.info.run_id]
        assert len({run.info.run_name for run in trials}) == len(trials) == 2
    notes = [run for run in runs if "reconv.retrain" in run.data.tags]
    assert sorted(run.data.tags["reconv.retrain"] for run in notes)[0] == "failed"
    assert len({run.info.run_name for run in notes}) == len(notes) == 3


def test_what_a_person_took_back_is_not_promoted_again_by_the_next_night(grown):
    assert reconv(grown, "promote", "2", "--reason", "a trial").returncode == 0
    assert reconv(grown, "rollback", "--reason", "takes wet for dry").returncode == 0
    change_params(grown, {"register.fresh_test_after": 40})

    again = reconv(grown, "retrain")

    assert again.returncode == 0, again.stdout
    assert "version 2, which was taken back (takes wet for dry)" in again.stdout
    assert [one["version"] for one in versions(grown) if "champion" in one["aliases"]] == [1]


def test_a_dry_run_trains_and_registers_nothing(grown):
    change_params(grown, {"train.max_epochs": 7})

    dry = json.loads(reconv(grown, "retrain", "--dry-run", "--json").stdout)

    assert dry["ended"] in ("would be promoted", "would be kept")
    assert dry["changes"]["params"] == ["train.max_epochs"] or dry["changes"]["params"] == ["train"]
    assert dry["champion_before"] == dry["champion_after"] == 1
    assert "register" not in dry["stages"]
    assert [one["version"] for one in versions(grown)] == [2, 1]
    real = json.loads(reconv(grown, "retrain", "--json").stdout)
    assert (real["contest"], real["screen"]) == (dry["contest"], dry["screen"])
    assert real["contest"] or real["screen"]
    assert real["ended"] == {"would be promoted": "promoted", "would be kept": "kept"}[dry["ended"]]
    assert [one["version"] for one in versions(grown)] == [3, 2, 1]


@pytest.mark.parametrize("wanted", ["1", "champion"])
def test_a_version_is_reproduced_from_its_lineage(grown, wanted):
    """The champion's images are those of the first night, which DVC's cache still has."""
    reproduced = json.loads(reconv(grown, "reproduce", wanted, "--json").stdout)

    assert (reproduced["outcome"], reproduced["weights"]) == ("bit-equal", "equal")
