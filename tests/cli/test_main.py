"""The command line as a whole: help, exit codes, and that it is fast because it loads nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from untrusted_names import CONTROLS, NASTY

from reconv.cli.main import main

NAMES = (
    *("doctor", "inspect", "run", "report", "ui", "predict", "demo", "export"),
    *("retrain", "models", "promote", "rollback", "reproduce"),
)


def reconv(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).with_name("reconv")), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_help_lists_every_command_in_the_order_in_which_one_needs_them() -> None:
    shown = CliRunner().invoke(main, ["--help"], terminal_width=80)

    listed = [line.split()[0] for line in shown.output.partition("Commands:")[2].splitlines() if line[:2] == "  "]
    assert tuple(listed[: len(NAMES)]) == NAMES
    assert "..." not in shown.output.partition("Commands:")[2], (
        "a first sentence is too long for a terminal of 80 columns"
    )
    assert "Exit codes:" in shown.output


@pytest.mark.parametrize("name", NAMES)
def test_help_of_each_command_shows_examples(name: str) -> None:
    shown = CliRunner().invoke(main, [name, "--help"])

    assert shown.exit_code == 0
    assert f"  reconv {name}" in shown.output.partition("Examples:")[2]


def test_help_loads_no_library_but_click() -> None:
    script = (
        "import sys; from reconv.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch','mlflow','ray','pandas','numpy','scipy','pydantic','yaml'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", [("nothing",), ("predict",), ("promote", "1"), ("retrain", "--soon")])
def test_a_command_line_that_is_not_understood_has_exit_code_2(words: tuple[str, ...]) -> None:
    assert CliRunner().invoke(main, words).exit_code == 2


@pytest.mark.parametrize(
    "words", [("models",), ("retrain",), ("inspect", "images"), ("reproduce", "champion"), ("ui",)]
)
def test_outside_of_a_project_it_is_said_where_to_run(words: tuple[str, ...]) -> None:
    done = reconv(*words)

    assert done.returncode == 1
    assert "params.yaml is missing: run in the project's folder." in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_without_a_report_there_is_a_remedy(project: Path) -> None:
    done = reconv("report")

    assert (done.returncode, done.stderr) == (
        1,
        "reconv: results/compare/report.html is missing: `reconv run` makes it.\n",
    )


def test_a_run_does_not_begin_where_it_would_stop_halfway(project: Path) -> None:
    """This folder is no DVC project, and its images went away."""
    (project / "images").rename(project / "away")

    done = reconv("run")

    assert done.returncode == 1
    assert "DVC: " in done.stderr
    assert "images: images does not exist" in done.stderr
    assert "correct data.source in params.yaml." in done.stderr


def test_an_unknown_model_is_named_with_those_there_are(project: Path) -> None:
    done = reconv("predict", "images")

    assert done.returncode == 1
    assert "no model is registered as images: `reconv run` registers one." in done.stderr


def test_inspect_says_what_is_in_a_source_and_what_is_wrong(project: Path) -> None:
    (project / "images" / "left" / "page.png").write_text("<html>")

    shown, found = reconv("inspect", "images"), json.loads(reconv("inspect", "images", "--json").stdout)

    assert shown.returncode == 0
    assert "folder:images: 60 images, as 8 x 8 x 1" in shown.stdout
    assert "1 of 61 files is no image that can be used: it was left out." in shown.stdout
    assert found["counts"] == {"train": 33, "validation": 12, "test": 15}
    assert "unusable" in [one["kind"] for one in found["findings"]]
    assert not (project / "data").exists()


def test_inspect_says_everything_that_would_stop_a_run_at_once(project: Path) -> None:
    images = project / "images"
    for path in (images / "left").glob("*.png"):
        path.write_text("<html>")
    for path in sorted((images / "right").iterdir())[1:]:
        path.unlink()
    (images / "Middle").mkdir()
    for path in sorted((images / "middle").iterdir())[:10]:
        path.rename(images / "Middle" / path.name)
    (images / NASTY.replace("/", "")).mkdir()
    for name in ("notes", "words"):
        (images / name).mkdir()
        (images / name / "of.txt").write_text("x")

    done, as_data = reconv("inspect", "images"), reconv("inspect", "images", "--json")

    assert (done.returncode, as_data.returncode) == (1, 1)
    said = done.stdout.partition("a run would stop here:")[2]
    for problem in (
        "2 class folders of images without an image",
        'class "notes"\n  - class "words"',
        "20 of 41 files are no images that can be used, 48.8%",
        "2 classes too small to be split by data.test",
        'class "left" has 0 left\n  - class "right" has 1 left',
    ):
        assert problem in said.partition("and it would warn:")[0]
    for warning in (
        "1 folder without a file, not used as a class.\n  - =HYPERLINK",
        'The classes "Middle" and "middle" differ only in case',
        "less than 20 training images of Middle",
    ):
        assert warning in said.partition("and it would warn:")[2]
    assert not any(control in done.stdout for control in CONTROLS)
    assert json.loads(as_data.stdout)["counts"]["train"] > 0


def test_inspect_of_files_that_are_all_broken_ends_with_what_is_wrong(project: Path) -> None:
    for path in (project / "images").rglob("*.png"):
        path.write_text("<html>")

    done = reconv("inspect", "images")

    assert (done.returncode, done.stderr) == (1, "")
    assert "a run would stop here:\n60 of 60 files are no images that can be used" in done.stdout
