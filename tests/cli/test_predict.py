"""What `reconv predict` shows and writes of names that nobody chose with care."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from untrusted_names import CONTROLS, NASTY

from reconv.cli.main import main
from reconv.data.arrays import PreparedData
from reconv.files import write_bytes, write_json
from reconv.serving.bundle import write_bundle
from reconv.training.fit import fit
from reconv.training.job import TrainingJob

FILE = '=HYPERLINK("x")\x1b]0;owned\x07.png'


@pytest.fixture
def bundle(prepared: PreparedData, make_job: Callable[..., TrainingJob]) -> Path:
    """Of a classifier whose classes all have such a name."""
    manifest = prepared.manifest.model_copy(update={"class_names": tuple(f"{NASTY}{k}" for k in range(3))})
    result = fit(make_job(epochs=1), manifest, prepared.train, prepared.validation, lambda *_: None)
    write_bytes(Path("seed-0/weights.safetensors"), result.weights)
    write_json(Path("seed-0/model.json"), result.arguments)
    write_bundle(Path("bundle"), Path("seed-0"), 1.0, manifest, "crop")
    return Path("bundle")


def test_names_cannot_control_a_terminal_or_a_spreadsheet(
    bundle: Path, folder: Path, write_image_folder: Callable[..., Path]
) -> None:
    images = write_image_folder(folder / "source", 1) / "left"
    shutil.copy(images / "000.png", images / FILE)
    (images / f"-{FILE}").write_text("<html>")
    words = ["predict", str(images), "--model", str(bundle), "--out", "out.csv"]

    shown = CliRunner().invoke(main, words)
    answers = pd.read_csv("out.csv", keep_default_na=False)
    as_data = CliRunner().invoke(main, [*words, "--json"])

    assert (shown.exit_code, as_data.exit_code) == (0, 0), shown.output + as_data.output
    assert not any(control in shown.output for control in CONTROLS)
    assert "[fetch]" not in [line[:7] for line in shown.output.splitlines()]
    assert "\\x1b]0;owned\\x07" in shown.output
    assert answers["image"].tolist() == [f"'-{FILE}", "000.png", f"'{FILE}"]
    assert all(name.startswith(f"'{NASTY}") for name in answers["class"][1:])
    assert all(name.startswith(NASTY) for name in json.loads(as_data.stdout)["classes"])


def test_a_table_of_ids_is_answered_by_a_pattern_that_the_refusal_names(
    bundle: Path, folder: Path, write_image_folder: Callable[..., Path]
) -> None:
    write_image_folder(folder / "source", 2)
    Path("source/ids.csv").write_text("ID; note\n000; x\n001;\n")
    words = ["predict", "source/ids.csv", "--model", str(bundle), "--out", "out.csv"]

    unnamed = CliRunner().invoke(main, words)
    unfound = CliRunner().invoke(main, [*words, "--path", "id"])
    pattern = unfound.output.rpartition("--path '")[2].partition("'")[0]
    answered = CliRunner().invoke(main, [*words, "--path", pattern])

    assert "or name its columns by --path" in unnamed.output
    assert (unfound.exit_code, pattern) == (1, "left/{id}.png")
    assert answered.exit_code == 0, answered.output
    assert pd.read_csv("out.csv")["image"].tolist() == ["left/000.png", "left/001.png"]
