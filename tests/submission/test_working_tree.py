"""What travels to a cluster, and when two submissions are the same one."""

import zipfile
from pathlib import Path

import pytest
from project_folder import commit_all, git

from reconv.errors import SubmissionError
from reconv.submission.working_tree import WorkingTree, submission_name

PIPELINE = """
stages:
  train@cnn:
    cmd: python train.py
    outs: [weights]
    metrics:
      - results/${item.model}/metrics.json:
          cache: false
"""


@pytest.fixture
def repository(folder: Path) -> Path:
    git(folder, "init", "--quiet")
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "train.py").write_text("print(1)")
    (folder / ".gitignore").write_text("/.env\n")
    commit_all(folder)
    return folder


def name(*arguments: str) -> str:
    return submission_name(WorkingTree().sums(), arguments)


def packed(folder: Path) -> dict[str, bytes]:
    path = folder / ".git" / "tree.zip"
    WorkingTree().pack(path)
    with zipfile.ZipFile(path) as archive:
        return {member: archive.read(member) for member in archive.namelist()}


def test_uncommitted_changes_travel_but_nothing_that_git_does_not_know(repository: Path) -> None:
    (repository / "train.py").write_text("print(2)")
    (repository / ".env").write_text("SECRET=1")
    (repository / "notes").write_text("mine")

    content = packed(repository)

    assert content.keys() == {"dvc.yaml", "train.py", ".gitignore"}
    assert content["train.py"] == b"print(2)"
    assert WorkingTree().left_out == ["notes"]


def test_a_link_out_of_the_folder_does_not_travel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("home") / "id_ed25519"
    secret.write_text("SECRET")
    (repository / "key").symlink_to(secret)
    commit_all(repository)

    assert "key" not in packed(repository)


def test_what_dvc_writes_travels_but_makes_no_other_submission(repository: Path) -> None:
    before = name("prepare")
    (repository / "dvc.lock").write_text("schema: '2.0'\n")
    metrics = repository / "results" / "cnn" / "metrics.json"
    metrics.parent.mkdir(parents=True)
    metrics.write_text("{}")

    assert packed(repository).keys() > {"dvc.lock", "results/cnn/metrics.json"}
    assert name("prepare") == before
    commit_all(repository)
    assert name("prepare") == before


def test_a_changed_file_or_argument_makes_another_submission(repository: Path) -> None:
    before = name()
    (repository / "train.py").write_text("print(2)")

    assert len({before, name(), name("prepare"), name("prepare", "--force")}) == 4


def test_a_folder_without_git_says_what_to_do(folder: Path) -> None:
    (folder / "dvc.yaml").write_text(PIPELINE)

    with pytest.raises(SubmissionError, match=r"is not in a git repository\.\nRun `git init`"):
        WorkingTree()
