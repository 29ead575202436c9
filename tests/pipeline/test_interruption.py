"""A search that is killed, or stopped by Ctrl-C, and started again by the same command."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from project_folder import change_params, environment

pytestmark = [pytest.mark.ray, pytest.mark.slow]

_EPOCHS = "SELECT COUNT(*) FROM metrics WHERE key = 'validation/accuracy' AND step > 0"


@pytest.fixture
def searched_project(project, run_stage, write_image_folder) -> Path:
    """Prepared, with a search that takes some seconds and comes out the same each time."""
    write_image_folder(project / "images", per_class=400, seed=1)
    change_params(
        project,
        {"search.reproducible": True, "search.budget_epochs": 12, "search.max_epochs": 4, "models.cnn.dropout": 0.2},
    )
    for name in ("fetch", "prepare"):
        done = run_stage(name)
        assert done.returncode == 0, done.stdout
    return project


def start(project: Path, repository: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(repository / "pipeline" / "search.py"), "cnn"],
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell's background job ignores Ctrl-C, and what it starts inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


def wait_for_epochs(project: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        with sqlite3.connect(f"file:{project}/mlflow.db?mode=ro", uri=True) as store:
            if store.execute(_EPOCHS).fetchone()[0] >= count:
                return
        time.sleep(0.05)
    raise AssertionError(f"{count} epochs were not reached: {process.communicate()[0]}")


def outcome(project: Path) -> tuple[pd.DataFrame, str]:
    folder = project / "results" / "search" / "cnn"
    table = pd.read_csv(folder / "trials.csv").drop(columns="device_seconds")
    return table, (folder / "best.json").read_text()


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_search_goes_on_and_equals_an_uninterrupted_one(
    searched_project, repository, run_stage, signal_number
):
    project = searched_project
    process = start(project, repository)
    wait_for_epochs(project, 7, process)
    if signal_number == signal.SIGINT:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.kill()
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    if signal_number == signal.SIGINT:
        assert "interrupted. Run the same command to go on" in output
        assert "Traceback" not in output
    assert not (project / "results" / "search" / "cnn" / "trials.csv").exists()

    done = run_stage("search", "cnn")
    assert done.returncode == 0, done.stdout
    going_on = re.search(r"going on after (\d+) of 24 epochs", done.stdout)
    assert going_on is not None, done.stdout
    assert int(going_on[1]) >= 6  # not from the beginning: at most the last epoch is repeated
    resumed_table, resumed_best = outcome(project)

    with sqlite3.connect(f"{project}/mlflow.db") as store:
        runs = store.execute(
            "SELECT name, run_uuid FROM runs WHERE name LIKE 'trial%' AND lifecycle_stage = 'active'"
        ).fetchall()
        assert sorted(name for name, _ in runs) == [f"trial {number:02d}" for number in resumed_table["trial"]]
        for name, run_id in runs:
            steps = store.execute(
                "SELECT step FROM metrics WHERE run_uuid = ? AND key = 'validation/accuracy' ORDER BY step", (run_id,)
            ).fetchall()
            epochs = resumed_table.set_index("trial")["epochs"][int(name.split()[1])]
            assert [step for (step,) in steps] == [*range(1, epochs + 1)]
        searches = store.execute("SELECT COUNT(*) FROM runs WHERE name = 'search cnn'").fetchone()
        assert searches == (1,)

    assert run_stage("search", "cnn").returncode == 0  # finished: the same command starts anew
    whole_table, whole_best = outcome(project)
    pd.testing.assert_frame_equal(resumed_table, whole_table)
    assert resumed_best == whole_best
