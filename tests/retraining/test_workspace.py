"""What counts as new, as the source and DVC tell: the stages up to `prepare` in a folder of their own."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image
from project_folder import copy_pipeline, environment

from reconv.params import Params
from reconv.retraining.workspace import refresh, what_changed


@pytest.fixture
def prepared_project(project: Path, repository: Path) -> Path:
    copy_pipeline(repository, project)
    stages = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": {name: stages[name] for name in ("fetch", "prepare")}}))
    subprocess.run(["dvc", "repro"], env=environment(), check=True, capture_output=True, timeout=300)
    return project


def test_only_images_are_new(prepared_project: Path, make_params: Callable[..., Params]) -> None:
    params = make_params()
    assert what_changed(refresh(params, lambda _: None)) is None

    (prepared_project / "images" / "left" / "night.log").write_text("copied 60 images")
    assert what_changed(refresh(params, lambda _: None)) is None

    Image.new("L", (8, 8), 77).save(prepared_project / "images" / "left" / "new.png")
    found = what_changed(refresh(params, lambda _: None))
    assert found is not None
    assert found.data is not None
    assert found.data.added == 1
    # An interrupted retraining listed it, and did no more.
    assert what_changed(refresh(params, lambda _: None)) is not None
