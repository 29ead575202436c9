"""The MLflow runs of a stage, in a real sqlite store."""

import time

import pytest
from mlflow.tracking import MlflowClient

from reconv.errors import UnavailableError
from reconv.tracking.opening import end_pipeline_run, open_stage_run
from reconv.tracking.server import check_tracking, tracking_uri


@pytest.fixture
def said():
    return []


@pytest.fixture
def open_run(params, said):
    """open_run("search", "cnn"): the context of a stage's run in the current folder's store."""

    def opened(stage, model=None):
        return open_stage_run(params, stage, model, said.append)

    return opened


@pytest.fixture
def client(params):
    return MlflowClient(tracking_uri(params.resources))


def children(client, run_id):
    experiment = client.get_run(run_id).info.experiment_id
    return client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'")


def becomes(client, run_id, status):
    """Records are delivered beside the stage."""
    deadline = time.monotonic() + 20
    while client.get_run(run_id).info.status != status and time.monotonic() < deadline:
        time.sleep(0.05)
    return client.get_run(run_id).info.status == status


def test_stages_share_a_pipeline_run_until_it_ends(open_run, client):
    with open_run("prepare") as first:
        assert becomes(client, first.parent.run_id, "RUNNING")
    with open_run("compare") as second:
        assert first.parent.run_id == second.parent.run_id
        assert becomes(client, first.parent.run_id, "RUNNING")
    end_pipeline_run()
    assert client.get_run(second.parent.run_id).info.status == "FINISHED"
    with open_run("prepare") as third:
        assert third.parent.run_id != first.parent.run_id


def test_an_interrupted_stage_joins_its_run_and_a_finished_one_gets_a_new(open_run, client):
    with pytest.raises(KeyboardInterrupt), open_run("train", "cnn") as interrupted:
        raise KeyboardInterrupt
    assert client.get_run(interrupted.run_id).info.status == "KILLED"
    with open_run("train", "cnn") as resumed:
        assert resumed.run_id == interrupted.run_id
        assert becomes(client, resumed.run_id, "RUNNING")
    with open_run("train", "cnn") as again:
        assert again.run_id != interrupted.run_id


def test_a_run_that_was_deleted_meanwhile_is_started_anew(open_run, client):
    with pytest.raises(KeyboardInterrupt), open_run("train", "cnn") as interrupted:
        raise KeyboardInterrupt
    client.delete_run(interrupted.run_id)
    with open_run("train", "cnn") as again:
        assert again.parent.run_id == interrupted.parent.run_id
    client.delete_run(again.parent.run_id)
    with open_run("train", "cnn") as anew:
        assert anew.parent.run_id != again.parent.run_id


def test_a_failed_stage_is_marked(open_run, client):
    with pytest.raises(ValueError, match="mistake"), open_run("prepare") as run:
        raise ValueError("mistake")
    assert client.get_run(run.run_id).info.status == "FAILED"


def test_a_resumed_stage_joins_its_trials_logs_what_is_missing_and_forgets_the_rest(open_run, client):
    with pytest.raises(KeyboardInterrupt), open_run("search", "cnn") as run:
        run.resumed({}, set())
        for key in ("kept", "lost"):
            run.started(key, f"trial {key}", {"lr": 0.1})
            run.epoch(key, 1, {"train/loss": 1.0})
        raise KeyboardInterrupt
    history = {"kept": {1: {"train/loss": 1.0}, 2: {"train/loss": 0.5}}}
    with open_run("search", "cnn") as run:
        run.resumed(history, set())
        run.started("kept", "trial kept", {"lr": 0.1})
        for epoch in (2, 3):
            run.epoch("kept", epoch, {"train/loss": 0.5})
        run.finished("kept", "finished")
    (trial,) = children(client, run.run_id)
    assert trial.info.run_name == "trial kept"
    logged = client.get_metric_history(trial.info.run_id, "train/loss")
    assert sorted((metric.step, metric.value) for metric in logged) == [(1, 1.0), (2, 0.5), (3, 0.5)]


def test_what_cannot_be_kept_is_said_once_and_stops_nothing(open_run, client, said, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    with open_run("prepare") as run, monkeypatch.context() as full:
        full.setattr(run.courier.journal, "append", fail)
        for _ in range(3):
            run.log_metrics({"a": 1.0})
    (once,) = [text for text in said if "commit" not in text]  # there is no git here
    assert "goes on without it" in once


def test_what_mlflow_refuses_is_said_once_and_takes_nothing_else_with_it(open_run, client, said):
    with open_run("prepare") as run:
        run.log_metrics({"before": 1.0})
        run.log_params({"once": 1})
        run.log_params({"once": 2})
        run.log_metrics({"after": 1.0})
    data = client.get_run(run.run_id).data
    assert (data.metrics, data.params) == ({"before": 1.0, "after": 1.0}, {"once": "1"})
    (once,) = [text for text in said if "commit" not in text]  # there is no git here
    assert "refuses a record" in once


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "https://localhost:9"])
def test_a_server_that_does_not_answer_is_named(params, monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UnavailableError, match=uri):
        check_tracking(params.resources)


def test_a_store_that_cannot_be_opened_is_named(params, monkeypatch, said):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////dev/null/mlflow.db")
    with pytest.raises(UnavailableError, match="dev/null"), open_stage_run(params, "fetch", None, said.append):
        pass
