import json
from pathlib import Path

import pytest

from reconv.errors import TrainingError
from reconv.files import AnyPath, opened_store
from reconv.search import journal as journal_module
from reconv.search.journal import Journal


@pytest.fixture(params=["folder", "store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> AnyPath:
    if request.param == "folder":
        return tmp_path
    return opened_store(f"memory://{tmp_path}")


def test_the_next_session_finds_the_events_in_order(folder: AnyPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_MOST_BYTES", 100)
    events = [{"trial": number, "values": {"lr": 0.1 + 0.2, "widths": None}} for number in range(20)]
    for session in (events[:7], events[7:]):
        journal = Journal(folder)
        for event in session:
            journal.append(event)
    assert Journal(folder).past == events
    assert len(list(folder.glob("*.jsonl"))) > 2


def test_lazy_events_are_kept_with_the_next_that_is_not(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append({"trial": 1, "epoch": 1, "metrics": {"train/loss": float("nan")}}, is_lazy=True)
    assert not Journal(tmp_path).past
    journal.append({"trial": 2, "values": {}})
    assert [event["trial"] for event in Journal(tmp_path).past] == [1, 2]


def test_what_costs_a_line_does_not_grow_with_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    monkeypatch.setattr(journal_module, "write_text", lambda path, text: written.append(len(text)))
    journal = Journal(tmp_path)
    event = {"trial": 1, "values": {"lr": 0.01}}
    for _ in range(10_000):
        journal.append(event)
    assert max(written) <= journal_module._MOST_BYTES + len(json.dumps(event)) + 1


@pytest.mark.parametrize("content", [b"{", b"\x80\x04K\x01.", b"null"])
def test_a_damaged_journal_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "journal-000000.jsonl").write_bytes(content)
    with pytest.raises(TrainingError, match=r"journal-000000\.jsonl cannot be read .* delete the folder"):
        Journal(tmp_path)
