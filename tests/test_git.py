"""git's reasons, and what to do, where it says nothing of a folder."""

import subprocess
import sys
from pathlib import Path

import pytest
from other_user import can_become_another_user, give_to_nobody
from project_folder import change_params, commit_all, copy_pipeline, environment, git

from reconv.errors import GitError
from reconv.git import ask_git, is_in_git

RECONV = str(Path(sys.executable).with_name("reconv"))
needs_chown = pytest.mark.skipif(not can_become_another_user(), reason="only root can give a folder to another user")


def test_it_answers_in_a_repository(folder: Path) -> None:
    git(folder, "init", "--quiet")
    (folder / "file").touch()
    commit_all(folder)

    assert ask_git("rev-parse", "HEAD") == git(folder, "rev-parse", "HEAD")
    assert is_in_git()


def test_a_folder_that_is_not_in_git_is_named(folder: Path) -> None:
    with pytest.raises(GitError, match=rf"^{folder} is not in a git repository\.\nRun `git init`"):
        ask_git("rev-parse", "HEAD")
    assert not is_in_git()


def test_a_repository_without_a_commit_asks_for_one(folder: Path) -> None:
    git(folder, "init", "--quiet")
    with pytest.raises(GitError, match=r"nothing is committed .*\nRun `git add` and `git commit`"):
        ask_git("rev-parse", "HEAD")


def test_a_machine_without_git_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/none")
    with pytest.raises(GitError, match="git is not installed"):
        ask_git("status")


@needs_chown
def test_a_clone_of_another_user_runs_and_says_how_its_commits_are_named(project: Path, repository: Path) -> None:
    """Until the user trusts it."""
    copy_pipeline(repository, project, in_git=True)
    give_to_nobody(project)
    remedy = f"git config --global --add safe.directory {project}"

    told = reconv("run", "fetch").stdout
    assert "runs and models will not name a commit: git refuses to read this folder: it belongs to another" in told
    assert f"If you trust it: {remedy}\n" in told
    assert remedy in reconv("doctor").stdout

    change_params(project, {"data.source": f"folder:{project}/images"})  # another run of the pipeline
    trusted = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": str(project)}
    assert "commit" not in reconv("run", "fetch", **trusted).stdout


def reconv(*words: str, **changes: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [RECONV, *words], env=environment(**changes), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done
