"""What a killed process leaves on disk is read again: whole lines, once each."""

import os
from pathlib import Path

import pytest

from reconv.tracking.journal import Journal

FOLDER = Path("journal")


@pytest.fixture
def journal():
    opened = Journal(FOLDER)
    for number in range(3):
        opened.append({"number": number})
    return opened


def numbers(lines):
    return [line["number"] for line in lines]


def test_what_is_not_marked_waits(journal):
    lines, end = journal.waiting()
    assert numbers(lines) == [0, 1, 2]
    journal.mark(end)
    journal.append({"number": 3})
    assert numbers(journal.waiting()[0]) == [3]
    journal.close()

    again = Journal(FOLDER)
    assert (numbers(again.waiting()[0]), numbers(again.all()), again.num_waiting()) == ([3], [0, 1, 2, 3], 1)


@pytest.mark.parametrize("torn", [b"{", b'{"number": 3}', b"x" * 9_000_000])
def test_a_torn_last_line_is_cut_off(journal, torn):
    journal.close()
    with (FOLDER / "records.jsonl").open("ab") as file:
        file.write(torn)

    again = Journal(FOLDER)
    again.append({"number": 4})

    assert numbers(again.all()) == [0, 1, 2, 4]


def test_a_damaged_line_is_left_out(journal):
    journal.close()
    content = (FOLDER / "records.jsonl").read_bytes()
    (FOLDER / "records.jsonl").write_bytes(content.replace(b'{"number":1}', b'\0\0\0"number":'))

    assert numbers(Journal(FOLDER).all()) == [0, 2]


@pytest.mark.parametrize("mark", ["", "many", "-1", "1000000"])
def test_a_damaged_mark_means_that_nothing_is_known_to_be_delivered(journal, mark):
    journal.close()
    (FOLDER / "delivered").write_text(mark)

    assert numbers(Journal(FOLDER).waiting()[0]) == [0, 1, 2]


def test_a_line_longer_than_what_is_read_at_once_is_whole(journal):
    journal.append({"number": "9" * 9_000_000})

    assert len(list(journal.all())) == 4


def test_a_full_disk_takes_a_line_as_a_whole_or_not_at_all(journal, monkeypatch):

    write = os.write

    def write_half(file, content):
        if len(content) < 20:
            raise OSError("no space left")
        return write(file, content[: len(content) // 2])

    with monkeypatch.context() as full, pytest.raises(OSError, match="no space"):
        full.setattr(os, "write", write_half)
        journal.append({"number": 3, "text": "of some length, so that a half of it can be written"})
    journal.append({"number": 4})

    assert numbers(journal.all()) == [0, 1, 2, 4]


def test_only_one_has_it_open(journal):
    with pytest.raises(BlockingIOError):
        Journal(FOLDER)
    journal.close()
    Journal(FOLDER).close()


def test_files_are_kept_as_they_were(journal):
    for text in ("one", "two"):
        Path("report.html").write_text(text)
        journal.append({"number": journal.keep_file(Path("report.html"))})

    kept = [FOLDER / name for name in numbers(journal.all())[3:]]
    assert [(path.name, path.read_text()) for path in kept] == [("report.html", "one"), ("report.html", "two")]
