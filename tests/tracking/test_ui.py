"""`reconv ui` as a person runs it, and as another user of the machine meets it."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from chromium import ARGUMENTS, chromium
from mlflow.tracking import MlflowClient
from playwright.sync_api import sync_playwright
from project_folder import environment

from reconv.params import Params
from reconv.tracking.opening import open_stage_run
from reconv.tracking.server import tracking_uri

pytestmark = pytest.mark.slow

SECRET = "not-for-the-process-list"
RECONV = Path(sys.executable).with_name("reconv")


@pytest.fixture
def run_id(params: Params, project: Path) -> str:
    """A stage's run with a page among its artifacts, in this folder's store."""
    page = project / "report.html"
    page.write_text("<h1>The CNN is worth it here</h1>")
    with open_stage_run(params, "compare", None, print) as run:
        run.log_file(page)
    client = MlflowClient(tracking_uri(params.resources))
    client.create_registered_model("parts")
    client.create_model_version("parts", str(project), run.run_id)
    return run.run_id


@pytest.fixture
def running(run_id: str, project: Path) -> Iterator["subprocess.Popen[str]"]:
    """With a URI that holds a password, as of a database."""
    uri = f"sqlite:///{project / 'mlflow.db'}?password={SECRET}"
    command = [str(RECONV), "ui", "--port", "0"]
    started = subprocess.Popen(
        command, env=environment(MLFLOW_TRACKING_URI=uri), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    yield started
    started.kill()
    started.communicate()


@pytest.fixture
def address(running: "subprocess.Popen[str]") -> str:
    """With its token."""
    assert running.stdout is not None
    return running.stdout.readline().split()[0]


def ask(address: str, path: str, method: str = "GET", content: Any = None, token: str = "") -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(address.partition("?")[0] + path, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


def test_another_user_can_neither_read_nor_write_and_sees_no_secret(
    running: "subprocess.Popen[str]", address: str, run_id: str, project: Path
) -> None:
    alias = {"name": "parts", "alias": "champion", "version": "1"}
    tried = [
        ("api/2.0/mlflow-artifacts/artifacts/parts/planted", "PUT", "planted"),
        ("api/2.0/mlflow-artifacts/artifacts?path=", "GET", None),
        ("ajax-api/2.0/mlflow/upload-artifact?run_uuid=" + run_id + "&path=planted", "POST", "planted"),
        ("api/2.0/mlflow/registered-models/alias", "POST", alias),
        ("ajax-api/2.0/mlflow/registered-models/alias", "POST", alias),
        (f"api/2.0/mlflow/runs/get?run_id={run_id}", "GET", None),
        (f"get-artifact?run_uuid={run_id}&path=report.html", "GET", None),
        ("graphql", "POST", {"query": "{}"}),
        ("ajax-api/3.0/mlflow/assistant/status", "GET", None),
        ("health", "GET", None),
        ("", "GET", None),
    ]

    answers = {path: ask(address, path, method, content)[0] for path, method, content in tried}
    words = [word for one in psutil.Process(running.pid).children(recursive=True) for word in one.cmdline()]

    assert set(answers.values()) == {403}
    assert not list(project.rglob("planted"))
    assert not [word for word in [*words, *psutil.Process(running.pid).cmdline()] if SECRET in word]
    with urllib.request.urlopen(address, timeout=60) as welcome:
        assert SECRET not in welcome.read().decode()

    token = address.partition("=")[2]
    assert ask(address, "api/2.0/mlflow/registered-models/alias", "POST", alias, token)[0] == 200
    assert ask(address, "api/2.0/mlflow-artifacts/artifacts/parts/mine", "PUT", "mine", token)[0] == 200
    assert (project / "mlartifacts" / "parts" / "mine").exists()

    running.send_signal(signal.SIGINT)
    assert running.communicate(timeout=60)[1] == ""
    assert running.returncode == 0


@pytest.mark.browser
def test_a_browser_shows_a_run_and_its_page(address: str, run_id: str) -> None:
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS).new_page()
        page.goto(address)
        page.wait_for_url(lambda url: "token" not in url, timeout=60_000)
        page.goto(f"{page.url.partition('#')[0]}#/experiments/1/runs/{run_id}/artifacts/report.html")

        page.get_by_text("compare", exact=True).first.wait_for(timeout=60_000)
        shown = page.frame_locator("iframe").get_by_role("heading", name="The CNN is worth it here")
        shown.wait_for(timeout=60_000)


def test_a_store_that_cannot_be_opened_is_one_message_without_its_password(project: Path) -> None:
    uri = f"postgresql://me:{SECRET}@127.0.0.1:1/runs?password={SECRET}"

    done = subprocess.run(
        [str(RECONV), "ui", "--port", "0"],
        env=environment(MLFLOW_TRACKING_URI=uri),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("reconv: MLflow at postgresql://")
    assert SECRET not in done.stderr
