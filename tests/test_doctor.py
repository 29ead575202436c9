"""What the doctor finds, each trouble with its remedy."""

import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from project_folder import environment

from reconv import devices, doctor
from reconv.doctor import Check, before_a_run, examine
from reconv.tracking.server import connect
from reconv.training import session_folder

RECONV = str(Path(sys.executable).with_name("reconv"))


@pytest.fixture
def dvc_project(project: Path, repository: Path) -> Path:
    (project / "dvc.yaml").write_text((repository / "dvc.yaml").read_text())
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm"], cwd=project, check=True)
    return project


@pytest.fixture
def champion(dvc_project: Path) -> int:
    """The number of a registered version."""
    client = connect(f"sqlite:///{dvc_project / 'mlflow.db'}")
    client.create_registered_model("images")
    version = int(client.create_model_version("images", "file:///gone", tags={"test_accuracy": "0.9"}).version)
    client.set_registered_model_alias("images", "champion", str(version))
    return version


def set_source(project: Path, source: str) -> None:
    params = (project / "params.yaml").read_text().replace("folder:images", source)
    (project / "params.yaml").write_text(params)


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
        (
            "images",
            lambda p: set_source(p, "/data/x"),
            "data.source is '/data/x'",
            "Write folder:/data/x",
        ),
        ("images", lambda p: set_source(p, "fashion"), "data.source is 'fashion'", "Change it in params.yaml"),
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


def test_the_command_imports_no_heavy_library(dvc_project: Path, champion: int) -> None:
    command = [sys.executable, "-X", "importtime", RECONV, "doctor"]

    done = subprocess.run(
        command, env=environment(RECONV_VERBOSE="1"), capture_output=True, text=True, check=False, timeout=120
    )

    imported = set(re.findall(r"\| +(\w+)$", done.stderr, re.MULTILINE))
    assert "psutil" in imported  # it says what is imported
    assert imported & {"torch", "ray", "mlflow", "pandas", "numpy"} == set()
    assert f"images version {champion}" in done.stdout


@pytest.mark.timeout(120)  # the server is waited for five times as long
def test_what_is_known_is_said_while_a_server_hangs(dvc_project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = environment(MLFLOW_TRACKING_URI=uri, MLFLOW_HTTP_REQUEST_TIMEOUT="600")
        process = subprocess.Popen([RECONV, "doctor"], env=settings, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            said = next(line for line in process.stdout if " device " in line)
            assert ("no GPU" in said, process.poll()) == (not devices.has_gpu_file(), None)
        finally:
            process.kill()
            process.communicate()


@pytest.mark.parametrize(
    ("name", "variable", "value"),
    [("MLflow", "MLFLOW_TRACKING_URI", "postgresql://127.0.0.1:1/runs"), ("Ray", "RAY_ADDRESS", "ray://head")],
)
def test_what_was_not_looked_at_is_not_called_fine(dvc_project, monkeypatch, name, variable, value) -> None:
    monkeypatch.setenv(variable, value)
    assert found()[name].state == "unchecked"


def test_a_machine_without_a_folder_for_ray_is_a_problem(dvc_project: Path, monkeypatch) -> None:
    monkeypatch.setattr(session_folder, "_MOST_BYTES", 0)

    check = found()["Ray"]

    assert check.state == "problem"
    assert "Set TMPDIR" in check.text


def test_images_to_download_are_not_called_fine(dvc_project: Path) -> None:
    set_source(dvc_project, "fashion-mnist")
    assert found()["images"].state == "unchecked"


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="torch sees this machine's GPU")
def test_a_driver_whose_gpu_torch_does_not_see_is_a_warning(dvc_project, monkeypatch) -> None:
    monkeypatch.setattr(devices, "_GPU_FILES", (dvc_project / "params.yaml",))

    check = found(examine)["device"]

    assert check.state == "warning"
    assert "torch sees no GPU" in check.remedy
