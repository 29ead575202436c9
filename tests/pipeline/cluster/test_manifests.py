"""The files for Kubernetes and Docker, as far as they can be judged without either: against the schemas that their
platforms publish, and against the rules that we set for them.
"""

import copy
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from kuberay_schemas import KINDS

REPOSITORY = Path(__file__).parents[3]
FOLDER = REPOSITORY / "pipeline" / "cluster"
KUBERNETES = "1.30"
DOCKERFILES = [FOLDER / "Dockerfile", FOLDER / "tracking" / "Dockerfile"]


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))


def ray_manifest(kind: str) -> dict[str, Any]:
    return documents({"RayCluster": "ray-cluster.yaml", "RayJob": "ray-job.yaml"}[kind])[0]


def pod_templates(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    spec = manifest["spec"]
    cluster = spec.get("rayClusterSpec", spec)
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"] for group in groups] + [spec[name] for name in ("submitterPodTemplate",) if name in spec]


def check(manifest: dict[str, Any]) -> None:
    """What the API server would say of it."""
    assert set(manifest) == {"apiVersion", "kind", "metadata", "spec"}
    assert manifest["apiVersion"] == "ray.io/v1"
    jsonschema.validate(manifest["spec"], KINDS[manifest["kind"]])
    for template in pod_templates(manifest):
        wrapped = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": manifest["metadata"], "template": template}
        kubernetes_validate.validate(wrapped, KUBERNETES, strict=True)
    spec = manifest["spec"]
    options = spec.get("rayClusterSpec", spec)["autoscalerOptions"]
    container = {"name": "autoscaler", "resources": options["resources"], "securityContext": options["securityContext"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "it"}, "spec": {"containers": [container]}}
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_ray_manifests_fit_their_schemas(kind: str) -> None:
    check(ray_manifest(kind))


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
@pytest.mark.parametrize(
    "path",
    ["unknown", "authOptions.tokens", "headGroupSpec.services", "headGroupSpec.template.spec.securityContexts",
     "workerGroupSpecs.0.minimum", "workerGroupSpecs.1.template.spec.containers.0.resources.limit"],
)  # fmt: skip
def test_the_check_finds_an_unknown_field(kind: str, path: str) -> None:
    manifest = copy.deepcopy(ray_manifest(kind))
    at: Any = manifest["spec"].get("rayClusterSpec", manifest["spec"])
    *parents, name = path.split(".")
    for parent in parents:
        at = at[int(parent) if parent.isdigit() else parent]
    at[name] = "x"

    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(manifest)


def test_what_surrounds_them_fits_kubernetes_schemas() -> None:
    for document in documents("surroundings.yaml"):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_job_runs_on_the_cluster_that_we_describe() -> None:
    assert ray_manifest("RayJob")["spec"]["rayClusterSpec"] == ray_manifest("RayCluster")["spec"]


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_pods_are_locked_down_and_bounded(kind: str) -> None:
    for template in pod_templates(ray_manifest(kind)):
        pod = template["spec"]
        assert template["metadata"]["labels"] == {"app": "reconv"}, "else the network policy does not hold for it"
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert set(container["resources"]) == {"requests", "limits"}
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])
            assert not container["image"].endswith(":latest")


def test_the_cluster_asks_for_a_token_scales_from_zero_and_is_not_exposed() -> None:
    spec = ray_manifest("RayCluster")["spec"]

    assert spec["authOptions"] == {"mode": "token"}
    assert spec["enableInTreeAutoscaling"] is True
    assert {group["groupName"]: group["minReplicas"] for group in spec["workerGroupSpecs"]} == {"cpu": 0, "gpu": 0}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert "LoadBalancer" not in "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.yaml"))


def test_ray_is_the_version_of_the_lock() -> None:
    locked = re.search(r"^ray==([\d.]+)", (REPOSITORY / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)

    assert locked is not None
    assert ray_manifest("RayCluster")["spec"]["rayVersion"] == locked[1]


def test_what_manifests_refer_to_is_there() -> None:
    made = {(document["kind"], document["metadata"]["name"]) for document in documents("surroundings.yaml")}
    pod = ray_manifest("RayCluster")["spec"]["headGroupSpec"]["template"]["spec"]

    assert {("ConfigMap", "reconv-tracking"), ("PersistentVolumeClaim", "reconv-work")} <= made
    assert pod["containers"][0]["envFrom"][0] == {"configMapRef": {"name": "reconv-tracking"}}
    entrypoint = ray_manifest("RayJob")["spec"]["entrypoint"]
    assert (REPOSITORY / Path(entrypoint).relative_to("/opt/reconv")).is_file()


def test_local_yaml_is_what_params_yaml_has() -> None:
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))

    assert documents("local.yaml") == [{"resources": params["resources"]}]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_dockerfiles_pass_their_linter(dockerfile: Path) -> None:
    hadolint = shutil.which(
        "hadolint", path=f"{Path(sys.executable).parent}:{Path(kubernetes_validate.__file__).parents[1] / 'bin'}"
    )
    assert hadolint is not None

    done = subprocess.run([hadolint, dockerfile], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_what_dockerfiles_copy_is_in_the_repository_and_let_through(dockerfile: Path) -> None:
    let_through = {
        line.removeprefix("!").rstrip("/")
        for line in Path(f"{dockerfile}.dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copied = [
        source
        for line in dockerfile.read_text(encoding="utf-8").splitlines()
        if line.startswith("COPY ")
        for source in [word for word in shlex.split(line)[1:-1] if not word.startswith("--")]
    ]

    assert copied
    assert {source for source in copied if source != "."} <= let_through
    assert [name for name in let_through - {".git"} if not (REPOSITORY / name).exists()] == []


def test_images_end_as_a_user_without_rights() -> None:
    for dockerfile in DOCKERFILES:
        lines = dockerfile.read_text(encoding="utf-8").splitlines()
        assert "USER 1000" in lines[-4:]
        assert not [line for line in lines if re.search(r"(?i)(password|secret|token)\s*=", line)]


def test_the_tracking_image_holds_the_extra_server() -> None:
    extra = re.search(r"^server = \[(.*?)^\]", (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"), re.M | re.S)
    assert extra is not None
    named = (FOLDER / "tracking" / "requirements.txt").read_text(encoding="utf-8").splitlines()

    assert re.findall(r'"([\w\[\]-]+)', extra[1]) == [line for line in named if not line.startswith("#")]


def compose() -> dict[str, Any]:
    return documents("tracking/compose.yaml")[0]


def test_compose_publishes_one_port_on_the_loopback_address() -> None:
    services = compose()["services"]

    assert services["mlflow"]["ports"] == ["${BIND_ADDRESS:-127.0.0.1}:5000:5000"]
    assert not [name for name in services if name != "mlflow" and "ports" in services[name]]
    assert compose()["networks"]["inside"] == {"internal": True}
    assert [name for name in services if services[name]["networks"] != ["inside"]] == ["mlflow"]


def test_compose_has_no_secret_and_no_default_for_one() -> None:
    text = (FOLDER / "tracking" / "compose.yaml").read_text(encoding="utf-8")

    for name in ("POSTGRES_PASSWORD", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY", "S3_SECRET_KEY"):
        values = re.findall(rf"\$\{{{name}(.*?)\}}", text)
        assert values, name
        assert {value[:2] for value in values} == {":?"}, "without it nothing may start"


def test_compose_is_whole() -> None:
    services = compose()["services"]

    for service in services.values():
        assert re.search(r":[\w.-]*\d", service["image"]), "an image is pinned by a tag"
        assert set(service.get("depends_on", [])) <= set(services)
        assert {entry["source"] for entry in service.get("configs", [])} <= set(compose()["configs"])
        assert {entry.split(":")[0] for entry in service.get("volumes", [])} <= set(compose()["volumes"])
    json.loads(re.sub(r"\$\{.*?\}", "x", compose()["configs"]["keys"]["content"]))


def test_compose_starts_mlflow_with_flags_that_it_has() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "mlflow", "server", "--help"], capture_output=True, text=True, check=True
    )
    known = set(re.findall(r"--[a-z-]+", said.stdout))
    flags = [word.split("=")[0] for word in compose()["services"]["mlflow"]["command"] if word.startswith("--")]

    assert set(flags) <= known
    assert {"--app-name", "--allowed-hosts", "--serve-artifacts", "--artifacts-destination"} <= set(flags)
