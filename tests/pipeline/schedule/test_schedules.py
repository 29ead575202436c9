"""The files of pipeline/schedule, each judged by its platform's own tool or schema, as far as there is one here."""

import copy
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from debian import program
from kuberay_schemas import KINDS

REPOSITORY = Path(__file__).parents[3]
FOLDER = REPOSITORY / "pipeline" / "schedule"
CLUSTER = REPOSITORY / "pipeline" / "cluster"
KUBERNETES = "1.30"
UNITS = ("reconv-retrain.service", "reconv-retrain.timer")


def manifest(path: Path) -> dict[str, Any]:
    (document,) = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    return document


def verify(folder: Path) -> "subprocess.CompletedProcess[str]":
    units = [folder / name for name in UNITS]
    command = [program("systemd-analyze", "systemd"), "verify", "--user", "--man=no", "--recursive-errors=no", *units]
    home = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=home)


@pytest.fixture
def units(folder: Path) -> Path:
    """In the home folder of somebody whose clone has its .venv."""
    command = folder / "reconv" / ".venv" / "bin" / "reconv"
    command.parent.mkdir(parents=True)
    command.symlink_to(sys.executable)
    for name in UNITS:
        (folder / name).write_text((FOLDER / name).read_text(encoding="utf-8"))
    return folder


def test_systemd_takes_the_units(units: Path) -> None:
    done = verify(units)

    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_would_say_what_it_does_not_know(units: Path) -> None:
    service = units / UNITS[0]
    service.write_text(service.read_text() + "Retraining=yes\n")

    assert "Retraining" in verify(units).stderr


def test_the_timer_makes_up_for_a_night_on_which_the_machine_was_off() -> None:
    timer = (FOLDER / UNITS[1]).read_text(encoding="utf-8")

    assert "Persistent=true" in timer
    when = re.search(r"^OnCalendar=(.*)$", timer, re.MULTILINE)
    assert when is not None
    command = [program("systemd-analyze", "systemd"), "calendar", when[1]]
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode == 0


def test_kubernetes_takes_the_cron_job() -> None:
    kubernetes_validate.validate(manifest(FOLDER / "cronjob.yaml"), KUBERNETES, strict=True)


@pytest.mark.parametrize("path", ["spec.scheduled", "spec.jobTemplate.spec.template.spec.containers.0.arg"])
def test_the_check_finds_an_unknown_field(path: str) -> None:
    changed = copy.deepcopy(manifest(FOLDER / "cronjob.yaml"))
    at: Any = changed
    *parents, name = path.split(".")
    for parent in parents:
        at = at[int(parent) if parent.isdigit() else parent]
    at[name] = "x"

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(changed, KUBERNETES, strict=True)


def test_nothing_is_promoted_twice_by_two_pods() -> None:
    spec = manifest(FOLDER / "cronjob.yaml")["spec"]

    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["startingDeadlineSeconds"] > 200  # below, a controller that was away gives up for good


def test_the_pod_is_locked_down_and_finds_what_it_refers_to() -> None:
    pod = manifest(FOLDER / "cronjob.yaml")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    made = {
        (document["kind"], document["metadata"]["name"])
        for document in yaml.safe_load_all((CLUSTER / "surroundings.yaml").read_text(encoding="utf-8"))
    }

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert set(container["resources"]["limits"]) == {"cpu", "memory"}
    assert ("PersistentVolumeClaim", pod["volumes"][0]["persistentVolumeClaim"]["claimName"]) in made
    assert (REPOSITORY / Path(container["command"][0]).relative_to("/opt/reconv")).is_file()
    cluster = manifest(CLUSTER / "ray-cluster.yaml")["metadata"]["name"]
    variables = {one["name"]: one for one in container["env"]}
    assert variables["RAY_API_SERVER_ADDRESS"]["value"] == f"http://{cluster}-head-svc:8265"
    assert variables["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == cluster


def test_the_ray_cron_job_is_the_ray_job_every_night() -> None:
    nightly = manifest(FOLDER / "ray-cron-job.yaml")
    jsonschema.validate(nightly["spec"], KINDS["RayCronJob"])

    job = nightly["spec"]["jobTemplate"]
    (container,) = job["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    container["env"] = [one for one in container["env"] if one["name"] != "RECONV_COMMAND"]
    assert job == manifest(CLUSTER / "ray-job.yaml")["spec"]


def test_pods_run_the_command_that_everybody_runs() -> None:
    for name in ("cronjob.yaml", "ray-cron-job.yaml"):
        found = re.search(r"name: RECONV_COMMAND, value: (.*)}", (FOLDER / name).read_text(encoding="utf-8"))
        assert found is not None
        interpreter, script = found[1].split()
        assert interpreter == "python"
        assert (REPOSITORY / script).is_file()


def test_github_takes_the_workflow() -> None:
    assert lint(FOLDER / "github-actions.yaml").returncode == 0


@pytest.mark.parametrize(
    ("line", "instead"),
    [("    runs-on: [self-hosted, reconv]\n", ""), ("concurrency:", "concurrent:"), ("    steps:", "    step:")],
)
def test_github_would_say_what_it_does_not_know(folder: Path, line: str, instead: str) -> None:
    text = (FOLDER / "github-actions.yaml").read_text(encoding="utf-8")
    assert line in text
    (folder / "broken.yaml").write_text(text.replace(line, instead))

    assert lint(folder / "broken.yaml").returncode != 0


def lint(workflow: Path) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).with_name("check-jsonschema")), "--builtin-schema", "vendor.github-workflows"]
    return subprocess.run([*command, str(workflow)], capture_output=True, text=True, check=False)
