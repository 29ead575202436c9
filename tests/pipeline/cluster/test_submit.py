"""A job that is sent to a real Ray head with a token, left by `kill -9`, joined again, and brought home."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
import yaml
from conftest import write_images
from project_folder import change_params, commit_all, copy_pipeline, environment, free_port
from ray_head import JOBS, Head, running_head

pytestmark = [pytest.mark.slow, pytest.mark.ray]

SUBMIT = [sys.executable, "pipeline/cluster/submit.py"]
Submit = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    nodes = {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")), "SECRET_OF_THE_NODES": "opens the storage"}
    with running_head("127.0.0.1", **nodes) as running:
        yield running


@pytest.fixture
def sent_from(project: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working copy whose images and storage are where the cluster sees them too."""
    images = write_images(tmp_path_factory.mktemp("images"))
    storage = tmp_path_factory.mktemp("storage")
    change_params(project, {"data.source": f"folder:{images}", "resources.storage": str(storage)})
    copy_pipeline(repository, project, in_git=True)
    return project


@pytest.fixture
def variables(head: Head) -> dict[str, str]:
    return environment(
        RAY_API_SERVER_ADDRESS=f"http://127.0.0.1:{head.dashboard}",
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN_PATH=str(head.folder / "token"),
        SECRET_OF_THE_CLIENT="opens the storage here",
    )


@pytest.fixture
def submit(sent_from: Path, variables: dict[str, str]) -> Submit:
    def run(stage: str = "prepare", **changes: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*SUBMIT, stage],
            cwd=sent_from,
            env={**variables, **changes},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


def jobs_of(head: Head) -> list[str]:
    """Descriptions of those that were sent, as whoever has the token sees them."""
    connection = HTTPConnection("127.0.0.1", head.dashboard, timeout=30)
    connection.request("GET", JOBS, headers={"Authorization": f"Bearer {head.token}"})
    jobs = json.loads(connection.getresponse().read())
    connection.close()
    return [json.dumps(job) for job in jobs if str(job["submission_id"]).startswith("reconv-")]


def test_a_job_is_left_joined_again_and_brought_home(
    head: Head, sent_from: Path, variables: dict[str, str], submit: Submit
) -> None:
    dvc(sent_from, "repro", "fetch")
    with subprocess.Popen(
        [*SUBMIT, "prepare"], cwd=sent_from, env=variables, stdout=subprocess.PIPE, text=True
    ) as left:
        assert left.stdout is not None
        assert any("leaves it running" in line for line in left.stdout)
        left.kill()
    (before,) = jobs_of(head)
    assert "opens the storage" not in before

    with changed(sent_from / "pipeline" / "prepare.py"):
        refused = submit()
    joined = submit()

    assert refused.returncode == 1
    assert "still runs, and this is no longer the same: pipeline/prepare.py changed" in refused.stdout
    assert joined.returncode == 0, joined.stdout + joined.stderr
    assert "runs already: joining it" in joined.stdout
    assert "Stage 'fetch' didn't change, skipping" in joined.stdout  # what was done here is not done again there
    assert joined.stdout.count("Running stage 'prepare'") == joined.stdout.count("[prepare]  33 train") == 1
    assert "brought home: prepare\n" in joined.stdout
    assert "no MLflow server is named" in joined.stdout
    assert "Traceback" not in joined.stdout + joined.stderr
    assert "up to date" in dvc(sent_from, "status", "prepare")
    assert (sent_from / "data" / "prepared" / "manifest.json").is_file()

    commit_all(sent_from)
    again = submit()
    assert (again.returncode, again.stdout.count("\n")) == (0, 1), again.stdout
    assert "everything is up to date here" in again.stdout
    assert len(jobs_of(head)) == 1


def dvc(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["dvc", *words], cwd=folder, env=environment(), capture_output=True, text=True, check=True
    ).stdout


@contextmanager
def changed(path: Path) -> Iterator[None]:
    kept = path.read_text()
    path.write_text(f"{kept}\n")
    yield
    path.write_text(kept)


def test_a_failed_job_goes_on_as_another(head: Head, sent_from: Path, submit: Submit) -> None:
    images = source_of(sent_from)
    images.rename(images.with_name("away"))

    failed = submit("fetch")

    assert failed.returncode == 1
    assert "[fetch]    stopped" in failed.stdout
    assert "did not succeed (Job entrypoint command failed" in failed.stdout
    images.with_name("away").rename(images)
    succeeded = submit("fetch")
    assert succeeded.returncode == 0, succeeded.stdout + succeeded.stderr
    assert "failed: going on in another job" in succeeded.stdout
    assert "brought home: fetch\n" in succeeded.stdout


def source_of(project: Path) -> Path:
    source: str = yaml.safe_load((project / "params.yaml").read_text())["data"]["source"]
    return Path(source.removeprefix("folder:"))


def test_without_the_token_or_a_cluster_the_message_says_what_to_do(
    sent_from: Path, submit: Submit, tmp_path: Path
) -> None:
    (tmp_path / "wrong").write_text("0" * 64)

    wrong = submit(RAY_AUTH_TOKEN_PATH=str(tmp_path / "wrong"))
    away = submit(RAY_API_SERVER_ADDRESS=f"http://127.0.0.1:{free_port()}")
    unnamed = submit(RAY_API_SERVER_ADDRESS="")

    assert [done.returncode for done in (wrong, away, unnamed)] == [1, 1, 1]
    assert "refuses this machine" in wrong.stdout
    assert "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH" in wrong.stdout
    assert "no Ray cluster answers at http://127.0.0.1:" in away.stdout
    assert "RAY_API_SERVER_ADDRESS is '', must be the address" in unnamed.stdout
    assert not any("Traceback" in done.stdout + done.stderr for done in (wrong, away, unnamed))


def test_without_a_storage_the_message_says_which(sent_from: Path, submit: Submit) -> None:
    change_params(sent_from, {"resources.storage": None})

    done = submit()

    assert done.returncode == 1
    assert "resources.storage is null, must be a URL (s3://bucket/project) or a whole path" in done.stdout
