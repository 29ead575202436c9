"""What ray-job.yaml runs, with a `dvc` that says where it was called."""

import os
import subprocess
from pathlib import Path

import pytest

REPRO = Path(__file__).parents[3] / "pipeline" / "cluster" / "repro.sh"
GIT = ["git", "-c", "user.name=test", "-c", "user.email=test@example.com"]


@pytest.fixture
def source(folder: Path) -> Path:
    """A repository of one file and one commit."""
    made = folder / "source"
    made.mkdir()
    subprocess.run([*GIT, "init", "--quiet", made], check=True)
    commit(made, "1")
    return made


@pytest.fixture
def environment(folder: Path, source: Path) -> dict[str, str]:
    (folder / "bin").mkdir()
    dvc = folder / "bin" / "dvc"
    dvc.write_text('#!/bin/sh\n[ -z "${BROKEN:-}" ] || exit 9\necho "$PWD $*"\n', encoding="utf-8")
    dvc.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "RECONV_SOURCE": str(source),
        "RECONV_SHARED": str(folder / "shared"),
    }


def commit(repository: Path, content: str) -> str:
    (repository / "dvc.lock").write_text(content, encoding="utf-8")
    subprocess.run([*GIT, "-C", repository, "add", "."], check=True)
    subprocess.run([*GIT, "-C", repository, "commit", "--quiet", "-m", "it"], check=True)
    said = subprocess.run(["git", "-C", repository, "rev-parse", "--short=12", "HEAD"], capture_output=True, check=True)
    return said.stdout.decode().strip()


def run(environment: dict[str, str], *arguments: str) -> list[str]:
    done = subprocess.run([REPRO, *arguments], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_commit_has_a_folder_and_all_share_a_cache(folder: Path, source: Path, environment: dict[str, str]) -> None:
    (folder / "shared").mkdir()
    said = run(environment, "search")

    (made,) = (folder / "shared").iterdir()
    assert said == [
        f"{folder} --cd {made}.new cache dir --local {folder / 'shared' / 'dvc-cache'}",
        f"{made} repro search",
    ]

    other = commit(source, "2")
    run(environment)
    assert (folder / "shared" / other / "dvc.lock").read_text() == "2"


def test_the_same_commit_goes_on_where_it_was(folder: Path, environment: dict[str, str]) -> None:
    (folder / "shared").mkdir()
    run(environment)
    (made,) = (folder / "shared").iterdir()
    (made / "dvc.lock").write_text("further", encoding="utf-8")

    assert run(environment) == [f"{made} repro"]
    assert (made / "dvc.lock").read_text() == "further"


def test_what_interrupts_the_copying_leaves_no_half_folder(folder: Path, environment: dict[str, str]) -> None:
    (folder / "shared").mkdir()
    with pytest.raises(subprocess.CalledProcessError):
        run({**environment, "BROKEN": "1"})

    assert run(environment)[-1].endswith(" repro")
    assert [path.suffix for path in (folder / "shared").iterdir()] == [""]
