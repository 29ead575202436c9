"""A real MLflow server that dies, fails or loses its answers, and a driver that is killed: every trial is there once,
with every epoch's metrics once."""

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from failing_proxy import Proxy
from mlflow.tracking import MlflowClient
from project_folder import environment

from benchmarks.servers import MlflowServer, missing_for_postgres, postgres
from reconv.tracking.opening import open_stage_run

pytestmark = pytest.mark.slow

KEYS = ("0001", "0002", "0003")
EPOCHS = 8
NAMES = ("train/loss", "validation/accuracy")
DRIVER = """
import json, sys, time
from pathlib import Path
from reconv.params import load_params
from reconv.tracking.opening import open_stage_run

saved = Path("saved.json")
history = json.loads(saved.read_text()) if saved.exists() else {}
history = {key: {int(epoch): values for epoch, values in epochs.items()} for key, epochs in history.items()}
with open_stage_run(load_params(), "search", "cnn", print) as run:
    run.resumed(history, set())
    for key in sys.argv[2:]:
        run.started(key, f"trial {key}", {"lr": 0.1})
    done = max(map(len, history.values()), default=0)
    for epoch in range(done + 1, int(sys.argv[1]) + 1):
        for key in sys.argv[2:]:
            values = {"train/loss": 1 / epoch, "validation/accuracy": epoch / 100}
            run.epoch(key, epoch, values)
            history.setdefault(key, {})[epoch] = values
        if epoch % 3 == 0:  # as a search does, it saves its state less often than it reports
            saved.write_text(json.dumps(history))
        print(f"epoch {epoch}", flush=True)
        time.sleep(0.05)
    for key in sys.argv[2:]:
        run.finished(key, "finished")
"""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    if request.param == "sqlite":
        with MlflowServer(f"sqlite:///{folder / 'server.db'}", folder) as started:
            yield started
        return
    if missing := missing_for_postgres():
        pytest.skip(missing)
    with postgres(folder / "postgres") as store, MlflowServer(store, folder) as started:
        yield started


@pytest.fixture
def said():
    return []


@pytest.fixture
def open_run(server, params, said, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)

    def say(text):
        if "will not name a commit" not in text:  # the folder of a test is not in git
            said.append(text)

    return lambda stage="search": open_stage_run(params, stage, None, say)


def report(run, epochs):
    for epoch in epochs:
        for key in KEYS:
            run.epoch(key, epoch, {"train/loss": 1 / epoch, "validation/accuracy": epoch / 100})


def start(run):
    run.resumed({}, set())
    for key in KEYS:
        run.started(key, f"trial {key}", {"lr": 0.1})


def finish(run):
    for key in KEYS:
        run.finished(key, "finished")


def trials(server, run_id):
    client = MlflowClient(server.uri)
    experiment = client.get_run(run_id).info.experiment_id
    return client, client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'")


def assert_all_there_once(server, run_id, epochs=EPOCHS):
    client, found = trials(server, run_id)
    assert sorted(run.data.tags["reconv.key"] for run in found) == list(KEYS)
    for run in found:
        assert (run.info.status, run.data.params) == ("FINISHED", {"lr": "0.1"})
        for name in NAMES:
            logged = Counter(metric.step for metric in client.get_metric_history(run.info.run_id, name))
            assert logged == dict.fromkeys(range(1, epochs + 1), 1)
    assert client.get_run(run_id).info.status == "FINISHED"


def wait_until(true):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_server_that_dies_and_comes_back_has_everything_once(server, open_run, said):
    with open_run() as run:
        start(run)
        report(run, range(1, 4))
        wait_until(run.courier.journal.is_delivered)
        server.kill()
        report(run, range(4, EPOCHS + 1))
        wait_until(lambda: said)
        server.start()
        finish(run)
        wait_until(run.courier.journal.is_delivered)  # after pauses that have grown
    assert_all_there_once(server, run.run_id)
    assert len(said) == 1
    assert "takes no records" in said[0]


def test_what_a_dead_server_has_not_got_the_next_stage_delivers(server, open_run, said, folder):
    picture = folder / "curve.txt"
    picture.write_text("as it was")
    with open_run() as run:
        start(run)
        report(run, range(1, 4))
        wait_until(run.courier.journal.is_delivered)
        server.kill()
        report(run, range(4, EPOCHS + 1))
        finish(run)
        run.log_file(picture)
        wait_until(lambda: said)
    picture.write_text("as it is now")
    assert re.fullmatch(rf"\d+ records wait for MLflow at {server.uri}; the next stage delivers them.", said[-1])

    server.start()
    with open_run("train") as following:
        pass
    assert_all_there_once(server, run.run_id)
    assert len(said) == 2
    assert not list((folder / ".reconv" / "records").glob("*/*"))
    assert MlflowClient(server.uri).get_run(following.run_id).info.status == "FINISHED"
    stored = MlflowClient(server.uri).download_artifacts(run.run_id, "curve.txt", str(folder))
    assert Path(stored).read_text() == "as it was"


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_a_server_that_answers_500_for_a_while_has_everything_once(server, open_run, monkeypatch, lost):
    with Proxy(server.port) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
        with open_run() as run:
            start(run)
            proxy.fail(lost)
            report(run, range(1, EPOCHS + 1))
            wait_until(lambda: proxy.num_failed > 4)
            proxy.fail(None)
            finish(run)
            wait_until(run.courier.journal.is_delivered)
    assert_all_there_once(server, run.run_id)


def test_a_run_whose_creation_was_answered_500_is_made_once(server, open_run, monkeypatch):
    with Proxy(server.port) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
        with open_run() as run:
            wait_until(run.courier.journal.is_delivered)
            proxy.fail("answer", "runs/create")
            start(run)
            report(run, range(1, EPOCHS + 1))
            wait_until(lambda: proxy.num_failed > 0)
            proxy.fail(None)
            finish(run)
            wait_until(run.courier.journal.is_delivered)
    assert_all_there_once(server, run.run_id)


@pytest.mark.parametrize("at", [1, 4, 7])
def test_a_killed_driver_run_again_joins_its_runs(server, project, at):
    """The first time it has delivered a part; its saved state is older than what it recorded."""
    command = [sys.executable, "-c", DRIVER, str(EPOCHS), *KEYS]
    env = environment(MLFLOW_TRACKING_URI=server.uri)
    killed = subprocess.Popen(command, cwd=project, env=env, stdout=subprocess.PIPE, text=True)
    with killed:
        for line in killed.stdout:
            if line == f"epoch {at}\n":
                break
        killed.send_signal(signal.SIGKILL)
    run_id = json.loads((project / ".reconv" / "pipeline.json").read_text())["stages"]["search cnn"]
    before = {run.info.run_id for run in trials(server, run_id)[1]}
    with next((project / ".reconv" / "records").glob(f"*/{run_id}/records.jsonl")).open("ab") as journal:
        journal.write(b'{"key":"0001","op":"lo')  # killed in the middle of a line

    subprocess.run(command, cwd=project, env=env, check=True, capture_output=True)

    assert_all_there_once(server, run_id)
    if at >= 3:  # before, it has no state to go on with, and begins its trials anew
        assert before <= {run.info.run_id for run in trials(server, run_id)[1]}
