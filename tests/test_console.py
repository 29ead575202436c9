import io
import os
import termios
import time
from contextlib import suppress
from pathlib import Path

import pytest
from untrusted_names import CONTROLS, NASTY

from reconv.console import Console, SearchProgress, StudyProgress, TrainProgress, log_path, quiet_libraries

TRAINING = {"train/loss": 0.5, "train/accuracy": 0.9, "speed/images_per_second": 1000.0, "speed/epoch_seconds": 10.0}


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock as its only entry, which a test sets."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_each_line_is_headed_by_the_stage_and_the_model(stream: io.StringIO) -> None:
    Console("train", "cnn", stream).say("done\nwith more")

    assert stream.getvalue() == "[train]    cnn          done\n           with more\n"


def test_print_adds_nothing(stream: io.StringIO) -> None:
    Console("train", None, stream).print("a table")

    assert stream.getvalue() == "a table\n"


@pytest.mark.parametrize("method", ["say", "print", "status"])
def test_a_name_cannot_control_the_terminal_or_forge_a_line(
    stream: io.StringIO, clock: list[float], method: str
) -> None:
    console = Console("train", None, stream)
    clock[0] += 60

    getattr(console, method)(f"class {NASTY}")

    assert not any(control in stream.getvalue() for control in CONTROLS)
    assert "\\x1b]0;owned\\x07" in stream.getvalue()
    if method != "print":
        assert not any(line.startswith("[fetch]") for line in stream.getvalue().splitlines())


def test_status_off_a_terminal_is_a_plain_line_now_and_then(stream: io.StringIO, clock: list[float]) -> None:
    console = Console("search", "cnn", stream)
    for second in range(61):
        clock[0] = 100.0 + second
        console.status(f"{second} s")
    console.say("done")

    assert stream.getvalue().split("\n") == [
        "[search]   cnn          30 s",
        "[search]   cnn          60 s",
        "[search]   cnn          done",
        "",
    ]


@pytest.mark.parametrize("columns", [80, 0])  # 0: a terminal that does not know its width
def test_status_on_a_terminal_is_overwritten_by_the_next_line(columns: int) -> None:
    reader, writer = os.openpty()
    termios.tcsetwinsize(writer, (24, columns))
    with os.fdopen(writer, "w") as terminal:
        console = Console("search", "cnn", terminal)
        console.status("1 trial done")
        console.say("all done")

    assert (
        everything_shown_on(reader)
        == "\r\x1b[K[search]   cnn          1 trial done\r\x1b[K[search]   cnn          all done\r\n"
    )


def test_status_is_cut_to_the_width_of_the_terminal() -> None:
    reader, writer = os.openpty()
    termios.tcsetwinsize(writer, (24, 20))
    with os.fdopen(writer, "w") as terminal:
        Console("search", None, terminal).status("1 trial done, 2 running")

    assert everything_shown_on(reader) == "\r\x1b[K[search]   1 trial "


def everything_shown_on(reader: int) -> str:
    shown = b""
    with os.fdopen(reader, "rb", buffering=0) as screen, suppress(OSError):  # EIO: the other end is closed, all is read
        while True:
            shown += screen.read(1000)
    return shown.decode()


def test_train_progress_tells_epoch_speed_and_time_left(stream: io.StringIO, clock: list[float]) -> None:
    progress = TrainProgress(Console("train", "cnn", stream), num_seeds=2, max_epochs=10)
    for seed in range(2):
        progress.started(f"seed-{seed}", f"seed {seed}", {})
    clock[0] += 30
    progress.epoch("seed-0", 1, TRAINING)
    progress.epoch("seed-1", 1, TRAINING)

    # 2 of 20 epochs took 10 s side by side, after 20 s of start-up, so that 18 more take 90 s.
    assert progress.text() == "2 seeds · epoch 1/10 · 2,000 images/s · training accuracy 90.0% · 1:30 left"


def test_speed_is_that_of_the_trainings_that_still_run(stream: io.StringIO) -> None:
    progress = TrainProgress(Console("train", "cnn", stream), num_seeds=2, max_epochs=1)
    for key in ("seed-0", "seed-1"):
        progress.epoch(key, 1, TRAINING)
    progress.finished("seed-0", "finished")

    assert "1,000 images/s" in progress.text()


def test_epochs_before_an_interruption_are_told_and_do_not_count_as_speed(
    stream: io.StringIO, clock: list[float]
) -> None:
    progress = TrainProgress(Console("train", "cnn", stream), num_seeds=1, max_epochs=10)
    progress.resumed({"seed-0": dict.fromkeys(range(1, 8), TRAINING)}, set())
    progress.started("seed-0", "seed 0", {})
    clock[0] += 10
    progress.epoch("seed-0", 8, TRAINING)

    assert "going on after 7 of 10 epochs" in stream.getvalue()
    assert progress.text().endswith("0:20 left")


def test_a_stage_that_starts_anew_says_nothing_of_going_on(stream: io.StringIO) -> None:
    TrainProgress(Console("train", "cnn", stream), num_seeds=1, max_epochs=10).resumed({}, set())

    assert stream.getvalue() == ""


def test_progress_says_so_before_the_first_epoch(stream: io.StringIO) -> None:
    assert SearchProgress(Console("search", "cnn", stream), 24).text() == (
        "0 trials done · 0 running · 0/24 epochs · starting"
    )


def test_search_progress_names_the_best_trial(stream: io.StringIO) -> None:
    progress = SearchProgress(Console("search", "cnn", stream), 24)
    for key, accuracy in (("a", 0.5), ("b", 0.75), ("c", 0.25)):
        progress.started(key, f"trial {key}", {})
        progress.epoch(key, 1, {"validation/accuracy": accuracy, "speed/epoch_seconds": 1.0})
    progress.finished("a", "stopped")

    assert progress.text().startswith("1 trials done · 2 running · 3/24 epochs · best validation 75.0% (trial b) · ")


def test_what_libraries_print_goes_to_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_libraries("search-cnn") as terminal:
        os.write(1, b"noise on stdout\n")
        os.write(2, b"noise on stderr\n")
        print("for the user", file=terminal, flush=True)
    os.write(1, b"back on stdout\n")
    os.write(2, b"back on stderr\n")

    assert capfd.readouterr() == ("for the user\nback on stdout\n", "back on stderr\n")
    log = Path("logs/search-cnn.log")
    assert log_path("search-cnn") == log
    assert "noise on stdout\nnoise on stderr\n" in log.read_text()


def test_output_is_restored_after_a_failure(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="mistake"), quiet_libraries("train"):
        raise ValueError("mistake")
    os.write(1, b"back\n")

    assert capfd.readouterr().out == "back\n"


def test_the_log_keeps_earlier_runs() -> None:
    for run in (b"first\n", b"second\n"):
        with quiet_libraries("train"):
            os.write(1, run)

    log = Path("logs/train.log").read_text()
    assert log.index("first") < log.index("second")


def test_verbose_leaves_everything_on_the_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONV_VERBOSE", "1")

    with quiet_libraries("train"):
        os.write(1, b"noise\n")

    assert capfd.readouterr().out == "noise\n"
    assert not Path("logs").exists()


def test_study_progress_counts_trainings_and_epochs(stream: io.StringIO) -> None:
    progress = StudyProgress(Console("study", None, stream), num_trainings=3, total_epochs=7)
    progress.started("base-cnn-0", "base cnn 0", {})
    progress.epoch("base-cnn-0", 1, TRAINING)
    progress.epoch("base-cnn-0", 2, TRAINING)
    progress.finished("base-cnn-0", "finished")

    assert progress.text() == "1 of 3 trainings · 2 of 7 epochs"
