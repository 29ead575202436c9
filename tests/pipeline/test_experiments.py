"""`dvc exp run` on a fresh clone, and in the temporary copies that --temp and --queue make."""

import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY, _tiny_values, write_images
from project_folder import commit_all, copy_pipeline, environment, git

from reconv.dvc.declared import declared_stages

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone of a project that ran elsewhere: nothing of what dvc.lock names is on this machine. Its images are
    ignored by git, and its code says `pictures`, unlike the installed one."""
    origin = tmp_path_factory.mktemp("origin")
    (origin / "params.yaml").write_text(yaml.safe_dump(_tiny_values(), sort_keys=False))
    shutil.copy(REPOSITORY / "dvc.yaml", origin)
    with pytest.MonkeyPatch.context() as there:
        there.chdir(origin)
        (origin / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": lock()}, sort_keys=False))
    copy_pipeline(REPOSITORY, origin, in_git=True)
    with (origin / ".gitignore").open("a") as ignored:
        ignored.write("/images*/\n")
    sources = origin / "src/reconv/data/sources.py"
    sources.write_text(sources.read_text().replace(" images of ", " pictures of "))
    commit_all(origin)
    cloned = tmp_path_factory.mktemp("clones") / "cloned"
    git(origin.parent, "clone", "--quiet", str(origin), str(cloned))
    git(cloned, "config", "user.name", "test")
    git(cloned, "config", "user.email", "test@example.com")
    for seed, name in enumerate(("images", "images-2", "images-3", "images-4")):
        write_images(cloned / name, per_class=4, seed=seed)
    return cloned


def lock() -> dict[str, object]:
    """dvc.lock with outputs of all stages of the dvc.yaml here, folders where the repository's says so."""
    known = yaml.safe_load((REPOSITORY / "dvc.lock").read_text())["stages"]
    folders = {out["path"] for entry in known.values() for out in entry["outs"] if "nfiles" in out}
    found = {}
    for number, (name, declared) in enumerate(declared_stages().items()):
        outs = [
            {"path": out, "hash": "md5", "md5": f"a{number:031x}{'.dir' if is_folder(out, folders) else ''}", "size": 1}
            for out in declared.outs
        ]
        found[name] = {"cmd": "true", "outs": outs}
    return found


def is_folder(out: str, folders: set[str]) -> bool:
    return out in folders or not Path(out).suffix


def dvc(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["dvc", *words], cwd=folder, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def runs(folder: Path) -> dict[str, tuple[str, str]]:
    """Run -> its status and where its artifacts are, of the project."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        return {
            run: (status, uri) for run, status, uri in store.execute("SELECT run_uuid, status, artifact_uri FROM runs")
        }


def test_the_first_experiment_on_a_fresh_clone(clone: Path) -> None:
    assert "Experiment results have been applied" in dvc(clone, "exp", "run", "--name", "first", "fetch")


def check_new_runs(folder: Path, before: dict[str, tuple[str, str]], count: int) -> None:
    new = {run: found for run, found in runs(folder).items() if run not in before}
    assert len(new) == count
    for status, artifacts in new.values():
        assert status == "FINISHED"
        assert artifacts.startswith((folder / "mlartifacts").as_uri())


def test_an_experiment_in_a_temporary_copy_is_recorded_in_the_project(clone: Path) -> None:
    before = runs(clone)

    said = dvc(clone, "exp", "run", "--temp", "--name", "aside", "-S", "data.source=folder:images-2", "fetch")

    assert f"12 pictures of 3 classes in {clone / 'images-2'}" in said  # its own code, the project's images
    assert (clone / "logs/experiments/aside/fetch.log").exists()
    check_new_runs(clone, before, 2)  # of a pipeline and of its stage


def test_queued_experiments_run_beside_each_other(clone: Path) -> None:
    before, names = runs(clone), ("third", "fourth")
    for name, source in zip(names, ("images-3", "images-4"), strict=True):
        dvc(clone, "exp", "run", "--queue", "--name", name, "-S", f"data.source=folder:{source}", "fetch")

    nowhere = subprocess.DEVNULL  # the workers, which go on, would keep a pipe open
    start = ["dvc", "queue", "start", "--jobs", "2"]
    subprocess.run(start, cwd=clone, env=environment(), stdout=nowhere, stderr=nowhere, check=True, timeout=120)
    deadline = time.monotonic() + 300
    while (status := dvc(clone, "queue", "status")).count("Success") < len(names):
        assert time.monotonic() < deadline and "Failed" not in status, status
        time.sleep(1)

    assert all((clone / "logs/experiments" / name / "fetch.log").exists() for name in names)
    check_new_runs(clone, before, 4)
