"""What dvc.yaml declares, as DVC itself understands it."""

import subprocess
from pathlib import Path

import pytest
import yaml
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo
from project_folder import copy_pipeline, environment

from reconv.dvc.declared import declared_stages, upstream
from reconv.errors import ParamsError
from reconv.files import read_json


def test_each_stage_declares_what_dvc_reads_of_it(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    declared = declared_stages()
    with Repo(str(repository)) as repo:
        stages = {stage.name: stage for stage in repo.index.stages}

        assert declared.keys() == stages.keys()
        for name, stage in stages.items():
            params = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
            assert {*declared[name].deps} == {dep.def_path for dep in stage.deps if dep not in params}
            assert {*declared[name].params} == {key for dep in params for key in dep.params}
            assert {*declared[name].outs} == {out.def_path for out in stage.outs}


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
