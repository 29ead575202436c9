"""What a registered version's files may be: what was registered, and nothing else is read."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from mlflow.tracking import MlflowClient
from registry.conftest import outcome_of

import reconv
from reconv.cli.main import main
from reconv.errors import RegistryError
from reconv.registry.checksums import FILES_SHA256
from reconv.registry.opening import open_registry
from reconv.registry.register import register
from reconv.tracking.opening import model_name_of_old, open_stage_run
from reconv.tracking.server import tracking_uri

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def registered(tmp_path_factory, make_prepared, tiny_params) -> Path:
    """A project with one version, the champion."""
    folder, data = tmp_path_factory.mktemp("registered"), make_prepared(60)
    values = tiny_params.model_dump(mode="json", by_alias=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    np.save(folder / "pixels.npy", data.test.images[:3])
    with chdir(folder):
        outcome = outcome_of(data, tiny_params, epochs=6, seed=0, lr=1e-2)
        with open_stage_run(tiny_params, "register", None, lambda _: None) as run:
            assert register(outcome, data, tiny_params, run, open_registry(tiny_params)).alias == "champion"
    return folder


@pytest.fixture
def project(registered, monkeypatch) -> Iterator[Path]:
    """That project, whose artifacts a test may change."""
    monkeypatch.chdir(registered)
    shutil.copytree("mlartifacts", "kept")
    yield registered
    for changed in ("mlartifacts", ".reconv/models", "served"):
        shutil.rmtree(changed, ignore_errors=True)
    Path("kept").rename("mlartifacts")


def model(project: Path) -> Path:
    """Its folder in MLflow's artifacts."""
    (found,) = project.glob("mlartifacts/*/models/*/artifacts")
    return found


def command(*words: str) -> Result:
    return CliRunner().invoke(main, words)


CHANGES = {
    "temperature": (
        "artifacts/classifier/served.json",
        lambda path: path.write_text(path.read_text().replace(",", " ,")),
    ),
    "weights": (
        "artifacts/classifier/weights.safetensors",
        lambda path: path.write_bytes(path.read_bytes()[:-4] + b"abcd"),
    ),
    "added": ("artifacts/classifier/extra.py", lambda path: path.write_text("print(1)")),
    "missing": ("artifacts/classifier/reference.npz", Path.unlink),
}
OF_CODE = {
    "code": ("pyfunc.py", lambda path: path.write_text("raise SystemExit(99)")),
    "description": ("MLmodel", lambda path: path.write_text(path.read_text() + "\n")),
    "compiled": ("code/sitecustomize.pyc", lambda path: path.write_bytes(b"")),
}


@pytest.mark.parametrize("words", [("predict", "pixels.npy", "--out", "a.csv"), ("models", "verify")], ids=" ".join)
@pytest.mark.parametrize(("name", "change"), CHANGES.values(), ids=CHANGES)
def test_a_changed_bundle_is_refused_and_the_file_is_named(project, words, name, change) -> None:
    change(model(project) / name)

    done = command(*words)

    assert (done.exit_code, type(done.exception)) == (1, SystemExit), done.output
    assert "version 1 is not what was registered" in done.stderr
    assert Path(name).name in done.stderr


@pytest.mark.parametrize(
    "words", [("models", "verify"), ("promote", "1", "--reason", "x")], ids=lambda words: " ".join(words[:2])
)
@pytest.mark.parametrize(("name", "change"), OF_CODE.values(), ids=OF_CODE)
def test_changed_code_is_refused_where_it_would_be_served(project, words, name, change) -> None:
    change(model(project) / name)

    done = command(*words)

    assert (done.exit_code, type(done.exception)) == (1, SystemExit), done.output
    assert name in done.stderr


def test_what_was_fetched_and_changed_here_is_fetched_again(project) -> None:
    assert command("predict", "pixels.npy", "--out", "a.csv").exit_code == 0
    (fetched,) = project.glob(".reconv/models/*/*/classifier/served.json")
    fetched.write_text("{}")

    assert command("predict", "pixels.npy", "--out", "b.csv").exit_code == 0
    assert Path("a.csv").read_text() == Path("b.csv").read_text()


def test_a_checked_copy_can_be_served_and_no_stored_code_runs_in_load_model(project) -> None:
    import mlflow

    images = np.load("pixels.npy")
    by_us = reconv.load_model("models:/images@champion").predict(images)
    cache = model(project) / "code" / "reconv" / "__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "errors.cpython-311.pyc").write_bytes(b"not code")

    done = command("models", "verify", "champion", "--out", "served")

    assert done.exit_code == 0, done.output
    assert not list(Path("served").rglob("*.pyc"))
    by_mlflow = mlflow.pyfunc.load_model("served").predict(images)
    assert by_us["confidence"].tolist() == by_mlflow["confidence"].tolist()


def test_a_version_of_an_earlier_reconv_answers_with_a_warning(project, tiny_params) -> None:
    registry, client = open_registry(tiny_params), MlflowClient(tracking_uri(tiny_params.resources))
    tag = registry.version("1").tags[FILES_SHA256]
    client.delete_model_version_tag(registry.name, "1", FILES_SHA256)
    try:
        done, listed = command("predict", "pixels.npy", "--out", "a.csv"), command("models")
    finally:
        client.set_model_version_tag(registry.name, "1", FILES_SHA256, tag)

    assert done.exit_code == 0
    assert done.stderr.count("registered without checksums") == 1
    assert "no checksums" in listed.stdout


def test_a_champion_is_found_by_the_name_that_earlier_versions_gave_it(make_params) -> None:
    params = make_params({"data.source": "folder:/photos/parts"})
    old = open_registry(params, model_name_of_old(params))
    assert old.name == "folder-photos-parts"
    assert open_registry(params).name == "parts"

    old.note("reconv.comparison.a", {"number": 1})

    assert open_registry(params).name == "folder-photos-parts"


@pytest.mark.parametrize("name", ["a'b", "..", "a/b", ""])
def test_a_name_that_mlflow_cannot_take_is_refused_at_once(params, name) -> None:
    with pytest.raises(RegistryError, match="must be a name of 1 to 200 bytes"):
        open_registry(params, name or " ")


def test_two_processes_fetch_a_version_at_once_and_what_a_killed_one_left_is_removed(project):
    (folder,) = {path.parent for path in open_bundle_twice(project)}
    (folder / ".killed").mkdir()
    shutil.rmtree(folder / "classifier")

    assert len(open_bundle_twice(project)) == 2
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def open_bundle_twice(project: Path) -> list[Path]:
    """Fetch the champion's bundle in two processes at once; return where each has it."""
    fetch = "from reconv.registry.resolving import resolve; print(resolve('champion').bundle)"
    command = [sys.executable, "-c", fetch]
    running = [subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0].splitlines() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    return [project / output[-1] for output in outputs]
