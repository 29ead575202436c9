"""What is written down of a retraining, here and in MLflow."""

import json

import pytest
from mlflow.tracking import MlflowClient

from reconv.artifacts import Contest, PairedTest
from reconv.retraining import record as module
from reconv.retraining.record import (
    RECORDS,
    Changes,
    Cost,
    DataChange,
    Draft,
    Drift,
    RetrainRecord,
    begin,
    in_one_line,
    send,
)
from reconv.tracking.server import tracking_uri

CONTEST = Contest(
    champion="3",
    number=7,
    level=0.001,
    num_images=1000,
    accuracy=0.92,
    champion_accuracy=0.9,
    only_candidate=40,
    only_champion=20,
    p_value=0.0007,
    detectable_difference=0.03,
    detectable_at_first=0.02,
    fresh_test_due=False,
)

SCREEN = PairedTest(**{name: value for name, value in CONTEST if name in PairedTest.model_fields} | {"p_value": 0.01})


def draft_of(**values) -> Draft:
    draft = Draft("0123abc")
    draft.note(
        changes=Changes(data=DataChange(added=9, removed=0, altered=1), params=("search",), code=(), other=()),
        stages=("prepare", "train@cnn"),
        drift=(Drift(name="brightness", effect=0.5, adjusted_p_value=1e-9, has_drifted=True, text="brighter"),),
        contest=CONTEST,
        reason="92 %",
        champion_before=3,
        champion_after=4,
        cost=Cost(device_seconds=60.0, price=0.5, currency="USD"),
        **values,
    )
    return draft


def files() -> list[str]:
    return sorted(path.name for path in RECORDS.glob("*.json"))


def test_a_record_is_kept_with_what_changed_and_what_it_cost():
    record = draft_of().keep("promoted")

    assert files() == [f"{record.began.replace(':', '-')}.json", "last.json"]
    assert RetrainRecord.load(RECORDS / "last.json") == record
    assert record.changes.text == "9 images added, 1 images altered · parameters: search"


def test_a_night_without_news_leaves_one_file_however_many_there_are():
    for _ in range(3):
        Draft("").keep("unchanged")

    assert files() == ["last.json"]


def test_a_clock_that_was_set_back_overwrites_nothing(monkeypatch):
    monkeypatch.setattr(module, "_now", lambda: "2026-10-25T02:30:00Z")
    for ended in ("kept", "promoted", "kept"):
        draft_of().keep(ended)

    names = [name for name in files() if name != "last.json"]
    assert [RetrainRecord.load(RECORDS / name).ended for name in names] == ["promoted", "kept", "kept"]
    assert names[0] == "2026-10-25T02-30-00Z-2.json"


def test_the_seconds_are_those_of_no_clock_that_can_be_set(monkeypatch):
    draft = draft_of()
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert 0 <= draft.keep("kept").seconds < 60


def test_one_that_did_not_end_is_noticed_by_the_next():
    assert not begin()
    assert begin()
    Draft("").keep("failed")
    assert not begin()


def test_mlflow_has_each_record_once(params):
    record = draft_of(screen=SCREEN).keep("promoted")
    draft_of().keep("failed")

    first, second = send(params), send(params)

    client = MlflowClient(tracking_uri(params.resources))
    (experiment,) = [one for one in client.search_experiments() if one.name == "folder-images"]
    runs = client.search_runs([experiment.experiment_id])
    assert len(first[0]) == len(runs) == 2
    assert second == ({}, "")
    (promoted,) = [run for run in runs if run.data.tags["reconv.retrain"] == "promoted"]
    assert promoted.info.run_name == f"retrain {record.began}"
    assert promoted.info.status == "FINISHED"
    assert promoted.data.metrics["retrain/p_value"] == CONTEST.p_value
    assert promoted.data.metrics["retrain/screen_p_value"] == 0.01
    assert promoted.data.metrics["drift/brightness"] == 0.5
    assert "9 images added" in promoted.data.tags["mlflow.note.content"]
    (kept,) = client.list_artifacts(promoted.info.run_id)
    assert kept.path.endswith(".json")


def test_a_server_that_is_away_gets_them_the_next_time(params, monkeypatch):
    draft_of().keep("kept")
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
        sent, why_not = send(params)
    assert sent == {}
    assert "http://127.0.0.1:1 cannot be used" in why_not

    assert len(send(params)[0]) == 1


@pytest.mark.parametrize(
    ("ended", "before", "said"),
    [
        ("unchanged", None, "unchanged ("),
        ("promoted", 3, "promoted: version 4 instead of version 3: 92 % ("),
        ("promoted", None, "promoted: version 4: 92 % ("),
        ("kept", 3, "not promoted, version 3 stays champion: 92 % ("),
        ("kept", None, "not promoted, there is no champion: 92 % ("),
        ("would be promoted", 3, "would be promoted instead of version 3: 92 % ("),
        ("would be kept", 3, "would not be promoted, version 3 would stay: 92 % ("),
    ],
)
def test_a_schedules_log_gets_one_line(ended, before, said):
    draft = draft_of()
    draft.note(champion_before=before)
    assert in_one_line(draft.keep(ended)).startswith(said)


def test_what_a_person_should_do_follows_it():
    assert in_one_line(draft_of(note="A fresh test set is due.").keep("kept")).endswith("\nA fresh test set is due.")


def test_the_record_is_json_that_others_read():
    draft_of().keep("kept")
    assert json.loads((RECORDS / "last.json").read_text())["contest"]["number"] == 7
