from pathlib import Path

from reconv.training_logs import TrainingLogs

FILE = Path("logs/search-cnn/trial-03.log")


def test_a_file_says_where_a_trial_ran_and_what_became_of_it() -> None:
    kept: list[tuple[str, Path]] = []
    logs = TrainingLogs("search-cnn", lambda key, path: kept.append((key, path)))
    logs.resumed({}, set())
    logs.started("abc", "trial 03", {"lr": 0.0123456, "widths": [32, 64]})
    logs.begins("abc", 0, "node-1, process 17")
    logs.epoch("abc", 1, {"train/loss": 0.5})
    logs.started("abc", "trial 03", {"lr": 0.0123456, "widths": [32, 64]})
    logs.begins("abc", 1, "node-2, process 4")
    logs.finished("abc", "finished")

    assert [line.split("  ", 1)[1] for line in FILE.read_text().splitlines()] == [
        "started  lr 0.012346  widths [32, 64]",
        "begins on node-1, process 17",
        "epoch 1  train/loss 0.5",
        "started  lr 0.012346  widths [32, 64]",
        "goes on after epoch 1 on node-2, process 4",
        "finished",
    ]
    assert kept == [("abc", FILE)]


def test_a_stage_that_goes_on_adds_to_what_is_there_and_one_that_starts_anew_does_not() -> None:
    for history, lines in (({}, 1), ({"abc": {1: {}}}, 2), ({"abc": {}}, 1)):
        logs = TrainingLogs("search-cnn", lambda *_: None)
        logs.resumed(history, set())
        logs.started("abc", "trial 03", {})

        assert len(FILE.read_text().splitlines()) == lines
