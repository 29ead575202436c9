"""A folder, environment and user unlike a developer's own: blanks in paths, no git, no user name, a long TMPDIR."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from other_user import as_nobody, can_become_another_user, give_to_nobody
from project_folder import change_params, copy_pipeline, environment

REPOSITORY = Path(__file__).resolve().parents[2]
AWKWARD = "my (1st) project & it's"
RunHere = Callable[..., subprocess.CompletedProcess[str]]
BREAKS_WORKERS = """
import sys
if any(word.endswith("default_worker.py") for word in sys.orig_argv):
    raise SystemExit("libcuda.so.1 is too old")
"""


@pytest.fixture(scope="module")
def run_here(tiny_params, write_image_folder) -> Iterator[RunHere]:
    """run_here("run", "prepare"): `reconv` with these words in a folder whose name a shell does not like, which is not
    in git; from an environment like it, with temporary folders of long names, and as a user without a name if this one
    may become it."""
    with TemporaryDirectory() as folder:  # pytest's own is closed to other users
        yield _ready(Path(folder), tiny_params, write_image_folder)


def _ready(folder: Path, tiny_params, write_image_folder) -> RunHere:
    folder.chmod(0o755)
    project, long, link = folder / AWKWARD, folder / ("t" * 80), folder / "the env (1) & $x"
    project.mkdir()
    long.mkdir()
    link.symlink_to(sys.prefix)
    write_image_folder(project / "images")
    values = tiny_params.model_dump(mode="json", by_alias=True)
    (project / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    change_params(project, {"search.budget_epochs": 2, "search.max_epochs": 1})
    copy_pipeline(REPOSITORY, project)
    (project / ".dvc" / "config").write_text((REPOSITORY / ".dvc" / "config").read_text())
    if can_become_another_user():
        give_to_nobody(project)
        give_to_nobody(long)

    def run(*words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        command = [str(link / "bin" / "python"), str(link / "bin" / "reconv"), *words]
        return subprocess.run(
            as_nobody(command) if can_become_another_user() else command,
            cwd=project,
            env=environment(HOME="/", TMPDIR=str(long), RAY_TMPDIR=str(long), **changes),
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )

    prepared = run("run", "prepare")
    assert prepared.returncode == 0, prepared.stdout + prepared.stderr
    assert prepared.stdout.count("will not name a commit: ") == 1
    assert f"{AWKWARD} is not in a git repository.\n" in prepared.stdout
    return run


@pytest.mark.ray
@pytest.mark.slow
def test_a_search_runs_there(run_here: RunHere) -> None:
    done = run_here("run", "search@feedforward")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 searches" in done.stdout and "4 epochs · validation" in done.stdout


@pytest.mark.ray
@pytest.mark.slow
def test_workers_that_cannot_start_are_reported_within_a_minute(run_here: RunHere, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BREAKS_WORKERS)

    done = run_here("run", "search@cnn", PYTHONPATH=str(tmp_path))

    assert done.returncode != 0
    (said,) = [line for line in done.stdout.splitlines() if "Ray's workers on this machine end as they start: " in line]
    assert "libcuda.so.1 is too old" in said  # two of them write it into one file
    assert "waiting for room" not in done.stdout  # which is said after a minute


def test_the_doctor_says_what_dvc_on_its_own_needs_there(run_here: RunHere) -> None:
    done = run_here("doctor")

    assert done.returncode == 0, done.stdout
    assert "`dvc repro` needs `dvc config --local core.no_scm true`" in done.stdout
    assert ("export USER=user" in done.stdout) == can_become_another_user()
