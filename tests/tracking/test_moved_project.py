"""A project that was moved or copied: its store leads to the artifacts beside it, never to those of another folder."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from reconv.params import Params
from reconv.places import RECORDS
from reconv.tracking.local_store import follow_the_project
from reconv.tracking.opening import open_stage_run
from reconv.tracking.server import client_of


@pytest.fixture
def first(folder: Path, monkeypatch: pytest.MonkeyPatch, params: Params) -> Path:
    """A project with a blank in its path: a run with an artifact, a model, its version, and an interrupted stage."""
    project = folder / "a b" / "first"
    project.mkdir(parents=True)
    monkeypatch.chdir(project)
    Path("note.txt").write_text("kept")
    with open_stage_run(params, "prepare", None, print) as run:
        run.log_file(Path("note.txt"))
    client = client_of(params.resources)
    client.create_registered_model("images")
    model = client.create_logged_model(experiment(client))
    client.create_model_version("images", f"models:/{model.model_id}", run.run_id, model_id=model.model_id)
    with pytest.raises(KeyboardInterrupt), open_stage_run(params, "train", "cnn", print):
        raise KeyboardInterrupt
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # which MLflow sets for its own children
    return project


def experiment(client: MlflowClient) -> str:
    found = client.get_experiment_by_name("folder-images")
    assert found is not None
    return str(found.experiment_id)


def locations(project: Path) -> set[str]:
    """What the store says of places."""
    found = set()
    with closing(sqlite3.connect(project / "mlflow.db")) as store:
        for table, column in (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("logged_models", "artifact_location"),
            ("model_versions", "storage_location"),
        ):
            found |= {place for (place,) in store.execute(f"SELECT {column} FROM {table}")}
    return {place for place in found if "folder-images" in place}


def files(project: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(project)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in project.rglob("*")
        if path.is_file()
    }


def goes_on(params: Params) -> MlflowClient:
    """Resume the interrupted stage in the current folder, with an artifact; the client."""
    before = {path.name for path in RECORDS.glob("*/*")}
    with open_stage_run(params, "train", "cnn", print) as run:
        run.log_file(Path("note.txt"))
    assert {run.run_id} == before  # the same run
    client = client_of(params.resources)
    for one in client.search_runs([experiment(client)]):
        if one.info.run_name in ("prepare", "train cnn"):
            assert [file.path for file in client.list_artifacts(one.info.run_id)] == ["note.txt"]
    return client


@pytest.mark.parametrize("is_copy", [False, True], ids=["mv", "cp -r"])
def test_it_goes_on_beside_its_own_artifacts(
    first: Path, is_copy: bool, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = first.parent / "über second"
    shutil.copytree(first, second) if is_copy else first.rename(second)
    before = files(first) if is_copy else {}
    monkeypatch.chdir(second)

    client = goes_on(params)

    assert (files(first) if is_copy else {}) == before
    assert first.exists() == is_copy
    assert locations(second)
    assert all(place.startswith(f"{second.as_uri()}/mlartifacts/") for place in locations(second))
    assert client.get_model_version_download_uri("images", "1").startswith(second.as_uri())


def test_several_processes_may_find_it_moved(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = first.rename(first.parent / "second")
    monkeypatch.chdir(second)
    uri = f"sqlite:///{second / 'mlflow.db'}"
    command = [sys.executable, "-c", f"from reconv.tracking.local_store import *; follow_the_project({uri!r})"]

    started = [subprocess.Popen(command) for _ in range(4)]

    assert [one.wait(60) for one in started] == [0] * 4
    assert all(place.startswith(second.as_uri()) for place in locations(second))


def test_another_project_that_keeps_its_runs_here_keeps_its_artifacts(
    first: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = first.parent / "other"
    other.mkdir()
    shutil.move(first / "mlflow.db", other)  # `first` named it in MLFLOW_TRACKING_URI
    before = locations(other)
    monkeypatch.chdir(other)

    follow_the_project(f"sqlite:///{other / 'mlflow.db'}")

    assert locations(other) == before


def test_a_store_that_is_not_the_project_s_stays(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = first.rename(first.parent / "second")
    before = locations(second)
    monkeypatch.chdir(first.parent)

    follow_the_project(f"sqlite:///{second / 'mlflow.db'}")

    assert locations(second) == before
