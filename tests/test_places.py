"""The project's folder, from a plain run and from an experiment in a temporary copy."""

from pathlib import Path

import pytest

from reconv.places import LOGS, from_project, logs, project


@pytest.fixture
def copy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, as DVC makes one for an experiment; the project is the test's folder."""
    made = folder / ".dvc" / "tmp" / "exps" / "standalone" / "tmp1"
    made.mkdir(parents=True)
    monkeypatch.chdir(made)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.setenv("DVC_EXP_NAME", "zingy-ally")
    return made


def test_a_plain_run_is_in_its_project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert project() == Path()
    monkeypatch.setenv("DVC_ROOT", str(folder))
    assert project() == Path()
    monkeypatch.setenv("DVC_ROOT", str(folder / "another"))  # of a stage that runs reconv in another project
    assert (project(), logs()) == (Path(), LOGS)


def test_a_temporary_copy_leads_to_its_project(copy: Path, folder: Path) -> None:
    assert project() == folder
    assert logs() == folder / LOGS / "experiments" / "zingy-ally"


def test_a_linked_folder_of_copies_leads_there_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "scratch" / "exps" / "tmp1").mkdir(parents=True)
    (folder / "parts" / ".dvc").mkdir(parents=True)
    (folder / "parts" / ".dvc" / "tmp").symlink_to(folder / "scratch")
    monkeypatch.setenv("DVC_ROOT", str(folder / "parts"))
    monkeypatch.chdir(folder / "scratch" / "exps" / "tmp1")

    assert project() == folder / "parts"


def test_images_that_git_ignores_are_found_from_a_copy(copy: Path, folder: Path) -> None:
    assert from_project(Path("images")) == folder / "images"
    Path("images").mkdir()
    assert from_project(Path("images")) == Path("images")
    assert from_project(Path("/data/images")) == Path("/data/images")
