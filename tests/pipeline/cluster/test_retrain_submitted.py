"""`reconv retrain --submit`: a real Ray head with a token does the work, a real MLflow server has the champion."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY, _tiny_values, write_images
from project_folder import QUICK, change_params, copy_pipeline, environment
from ray_head import running_head

from benchmarks.servers import MlflowServer

pytestmark = [pytest.mark.slow, pytest.mark.ray]

RETRAIN = [str(Path(sys.executable).with_name("reconv")), "retrain", "--submit"]


def retrain(folder: Path, variables: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(RETRAIN, cwd=folder, env=variables, capture_output=True, text=True, timeout=400, check=False)


def test_a_cluster_retrains_and_this_machine_knows_the_champion(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Left by `kill -9` while the job runs; the next one joins that job, and the one after finds nothing to do."""
    folder = tmp_path_factory.mktemp("submitted")
    project = folder / "project"
    images = write_images(folder / "images", per_class=40)
    project.mkdir()
    (project / "params.yaml").write_text(yaml.safe_dump(_tiny_values(), sort_keys=False))
    change_params(project, {**QUICK, "data.source": f"folder:{images}", "resources.storage": str(folder / "storage")})
    copy_pipeline(REPOSITORY, project, in_git=True)
    with (
        MlflowServer(f"sqlite:///{folder / 'server.db'}", folder) as server,
        running_head("127.0.0.1", XDG_CACHE_HOME=str(folder / "cache"), MLFLOW_TRACKING_URI=server.uri) as head,
    ):
        alone = environment(
            RAY_API_SERVER_ADDRESS=f"http://127.0.0.1:{head.dashboard}",
            RAY_AUTH_MODE="token",
            RAY_AUTH_TOKEN_PATH=str(head.folder / "token"),
        )
        refused = retrain(project, alone)
        variables = {**alone, "MLFLOW_TRACKING_URI": server.uri}
        with subprocess.Popen(RETRAIN, cwd=project, env=variables, stdout=subprocess.PIPE, text=True) as left:
            assert left.stdout is not None
            assert any("leaves it running" in line for line in left.stdout)
            left.kill()
        done = retrain(project, variables)
        again = retrain(project, variables)
        listed = subprocess.run(
            [RETRAIN[0], "models", "--json"], cwd=project, env=variables, capture_output=True, text=True, check=True
        )

    assert refused.returncode == 1
    assert "mlflow.db, must be on a server for `reconv retrain --submit`" in refused.stdout
    assert done.returncode == 0, done.stdout + done.stderr
    assert "goes on where the last one was interrupted" in done.stdout
    assert "runs already: joining it" in done.stdout
    assert done.stdout.count("Running stage 'register'") == 1
    (version,) = json.loads(listed.stdout)["versions"]
    record = json.loads((project / "logs" / "retrain" / "last.json").read_text())
    assert record["ended"] == "unchanged"
    kept = [json.loads(path.read_text()) for path in sorted((project / "logs" / "retrain").glob("2*.json"))]
    assert kept[-1]["ended"] in ("promoted", "kept")
    assert kept[-1]["champion_after"] == (version["version"] if kept[-1]["ended"] == "promoted" else None)
    assert "register" in kept[-1]["stages"]
    assert again.returncode == 0
    assert again.stdout.startswith("[retrain]  unchanged (")
