"""What dvc.yaml declares, as DVC itself understands it."""

import subprocess
from pathlib import Path

import pytest
import yaml
from project_folder import copy_pipeline, environment

from reconv.dvc.declared import declared_stages, upstream
from reconv.errors import ParamsError
from reconv.files import read_json


def test_each_stage_declares_what_dvc_recorded_of_it(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    locked = yaml.safe_load(Path("dvc.lock").read_text())["stages"]
    declared = declared_stages()

    assert declared.keys() == locked.keys()
    for name, entry in locked.items():
        assert {*declared[name].deps} == {dep["path"] for dep in entry["deps"]}
        assert {*declared[name].params} == {*entry.get("params", {}).get("params.yaml", {})}
        assert {*declared[name].outs} == {out["path"] for out in entry["outs"]}


def test_upstream_of_a_stage_is_what_its_inputs_are_made_by(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    stages = declared_stages()

    assert upstream("train@cnn", stages) == {"fetch", "prepare", "search@cnn"}
    assert upstream("register", stages) == stages.keys() - {"register"}
    assert upstream("fetch", stages) == set()


def test_a_torn_file_is_not_to_be_deleted(folder: Path) -> None:
    assert declared_stages() == {}
    Path("dvc.yaml").write_text("stages: {")
    with pytest.raises(ParamsError, match="put back the one that was committed"):
        declared_stages()


@pytest.mark.slow
def test_digests_of_real_stages_are_those_of_dvc(project: Path, repository: Path) -> None:
    copy_pipeline(repository, project)
    subprocess.run(["dvc", "repro", "prepare"], env=environment(), check=True, capture_output=True)
    locked = yaml.safe_load(Path("dvc.lock").read_text())["stages"]

    assert locked.keys() == {"fetch", "prepare"}
    for name, entry in locked.items():
        used = read_json(project / "results" / "runs" / f"{name}.json")["inputs"]
        assert used["deps"] == {dep["path"]: dep["md5"] for dep in entry["deps"]}
        assert used["params"] == entry["params"]["params.yaml"]
