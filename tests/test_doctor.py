"""What the doctor finds, each trouble with its remedy."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reconv import doctor
from reconv.doctor import Check, before_a_run, examine


@pytest.fixture
def dvc_project(project: Path, repository: Path) -> Path:
    (project / "dvc.yaml").write_text((repository / "dvc.yaml").read_text())
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm"], cwd=project, check=True)
    return project


def found(checks: Callable[[], object] = before_a_run) -> dict[str, Check]:
    return {check.name: check for check in checks()}  # type: ignore[attr-defined]


def test_a_project_that_is_ready_has_no_problem(dvc_project: Path) -> None:
    checks = found(examine)

    assert [check for check in checks.values() if check.state == "problem"] == []
    assert set(checks) >= {"Python", "packages", "params.yaml", "DVC", "disk", "MLflow", "Ray", "device", "champion"}
    assert "torch" in checks["packages"].text
    assert checks["champion"].text == "none of images yet"


def test_looking_changes_nothing(dvc_project: Path) -> None:
    before = sorted(path for path in dvc_project.rglob("*"))
    list(examine())
    assert sorted(path for path in dvc_project.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "spoil", "said", "remedy"),
    [
        ("params.yaml", lambda p: (p / "params.yaml").write_text("data: 7"), "data", "Change it in params.yaml."),
        ("DVC", lambda p: (p / ".dvc").rename(p / "gone"), "is no DVC project", "`dvc init`"),
        ("DVC", lambda p: (p / "dvc.yaml").unlink(), "dvc.yaml is missing", "git checkout dvc.yaml"),
        ("images", lambda p: (p / "images").rename(p / "gone"), "images does not exist", "data.source"),
    ],
)
def test_what_is_missing_is_a_problem_with_a_remedy(dvc_project, name, spoil, said, remedy) -> None:
    spoil(dvc_project)

    check = found()[name]

    assert check.state == "problem"
    assert said in check.text
    assert remedy in check.remedy


@pytest.mark.parametrize(
    ("name", "variable", "value", "said"),
    [
        ("MLflow", "MLFLOW_TRACKING_URI", "http://127.0.0.1:1", "MLflow at http://127.0.0.1:1 cannot be used"),
        ("Ray", "RAY_ADDRESS", "127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1"),
    ],
)
def test_a_server_that_does_not_answer_is_a_problem(dvc_project, monkeypatch, name, variable, value, said) -> None:
    monkeypatch.setenv(variable, value)

    check = found()[name]

    assert check.state == "problem"
    assert said in f"{check.text} {check.remedy}"


def test_a_password_is_not_shown(dvc_project, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:1")
    assert "secret" not in str(found()["MLflow"])


def test_a_full_disk_is_a_problem_before_a_run(dvc_project, monkeypatch) -> None:
    monkeypatch.setattr(doctor, "_VERY_FEW_BYTES", 1 << 60)
    assert found()["disk"].state == "problem"


def test_packages_other_than_those_that_were_tested_are_a_warning(dvc_project) -> None:
    (dvc_project / "requirements.lock").write_text("torch==1.0.0 \\\n    --hash=sha256:0\n")

    check = found(examine)["packages"]

    assert check.state == "warning"
    assert "requirements.lock, which was tested, has torch 1.0.0" in check.remedy
