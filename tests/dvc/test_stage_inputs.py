"""What changes while a stage runs, through `dvc repro` of a pipeline with two stages."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml
from mlflow.tracking import MlflowClient
from project_folder import change_params, commit_all, environment, git

PIPELINE = """
stages:
  prepare:
    cmd: python pipeline/prepare.py
    deps: [pipeline/prepare.py, src, images]
    params: [data]
    outs: [data/prepared, results/runs/prepare.json]
  compare:
    cmd: python pipeline/compare.py
    deps: [pipeline/compare.py, data/prepared]
    params: [compare]
    outs: [data/compared, results/runs/compare.json]
"""
# A stage waits while there is a file NAME.wait, and has a state that is cleared when it has succeeded.
SCRIPT = """
import time
from pathlib import Path
from reconv.resuming import code_digest
from reconv.stage import stage

with stage("{name}") as this:
    state = Path(".reconv/state")
    state.mkdir(parents=True, exist_ok=True)
    (state / "{name}").touch()
    this.resumable_dirs[state] = code_digest()
    Path("{name}.started").touch()
    while Path("{name}.wait").exists():
        time.sleep(0.01)
    Path("data/{out}").write_text(str(this.params.data.seed))
"""
CODE = Path("src/code.py")
LARGE = Path("images/large")


@pytest.fixture
def pipeline(project: Path, repository: Path) -> Iterator[Path]:
    for path in ("pipeline", "src/sub", "data"):
        Path(path).mkdir(parents=True)
    Path("pipeline/prepare.py").write_text(SCRIPT.format(name="prepare", out="prepared"))
    Path("pipeline/compare.py").write_text(SCRIPT.format(name="compare", out="compared"))
    CODE.write_text("it = 1\n")
    Path("src/sub/more.py").write_text("it = 2\n")
    LARGE.write_bytes(b"1" * 5 * 2**20)
    Path("dvc.yaml").write_text(PIPELINE)
    Path(".dvcignore").write_text((repository / ".dvcignore").read_text())
    Path(".gitignore").write_text((repository / ".gitignore").read_text() + "*.wait\n*.started\n")
    git(project, "init", "--quiet")
    subprocess.run(["dvc", "init", "--quiet"], env=environment(), check=True)
    commit_all(project)
    yield project
    for file in project.glob("*.wait"):
        file.unlink()


DVC = ("dvc", "repro")
OURS = (sys.executable, "-c", "import sys; from reconv.repro import repro; sys.exit(repro([]))")
"""What `reconv run`, and so `make repro`, calls."""


def repro(command: Sequence[str] = DVC) -> subprocess.Popen[str]:
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def paused_in(name: str, command: Sequence[str] = DVC) -> subprocess.Popen[str]:
    """A `dvc repro` whose stage `name` has begun its work."""
    Path(f"{name}.wait").touch()
    running = repro(command)
    deadline = time.monotonic() + 60
    while not Path(f"{name}.started").exists():
        assert running.poll() is None, running.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return running


def ended(running: subprocess.Popen[str], name: str) -> tuple[int, str]:
    Path(f"{name}.wait").unlink()
    output, _ = running.communicate(timeout=60)
    return running.returncode, output


def run_again() -> None:
    """Run the same command: it ends well, and what DVC recorded is what is there and what was used."""
    again = repro()
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 0, output
    status = subprocess.run(["dvc", "status"], env=environment(), capture_output=True, text=True, check=True)
    assert "up to date" in status.stdout
    seed = yaml.safe_load(Path("params.yaml").read_text())["data"]["seed"]
    assert Path("data/prepared").read_text() == str(seed)
    for name, entry in locked().items():
        used = json.loads(Path(f"results/runs/{name}.json").read_text())["inputs"]
        assert used["params"] == entry["params"]["params.yaml"]
        assert used["deps"] == {dep["path"]: dep["md5"] for dep in entry["deps"] if dep["path"] != "images"}


def locked() -> dict:
    lock = Path("dvc.lock")
    return yaml.safe_load(lock.read_text())["stages"] if lock.exists() else {}


def statuses(name: str) -> list[str]:
    client = MlflowClient("sqlite:///mlflow.db")
    experiment = client.get_experiment_by_name("folder-images")
    return [run.info.status for run in client.search_runs([experiment.experiment_id]) if run.info.run_name == name]


def test_a_parameter_that_changes_while_its_stage_runs_fails_the_stage(pipeline: Path) -> None:
    running = paused_in("prepare")
    change_params(pipeline, {"data.seed": 7})
    code, output = ended(running, "prepare")

    assert code != 0
    assert "params.yaml: data.seed was 0 when this stage started, is 7 now" in output
    assert "Traceback" not in output
    assert locked() == {}
    assert not Path("results/runs/prepare.json").exists()
    assert Path(".reconv/state/prepare").exists()
    assert statuses("prepare") == ["FAILED"]
    run_again()
    assert not Path(".reconv/state/prepare").exists()


def test_what_was_made_while_the_code_changed_is_not_resumed(pipeline: Path) -> None:
    script = Path("pipeline/prepare.py")
    script.write_text(script.read_text().replace("= code_digest()", "= 'that of other code'"))
    running = paused_in("prepare")
    edit_code()
    code, _ = ended(running, "prepare")

    assert code != 0
    assert not Path(".reconv/state/prepare").exists()


def edit_code() -> str:
    CODE.write_text("it = 3\n")
    return "src/code.py was changed while this stage ran"


def remove_code() -> str:
    CODE.unlink()
    return "src/code.py was removed while this stage ran"


def add_code() -> str:
    Path("src/sub/new.py").write_text("it = 4\n")
    return "src/sub/new.py was added while this stage ran"


def replace_large_data() -> str:
    LARGE.write_bytes(b"2" * 5 * 2**20)
    return "images/large was changed while this stage ran"


@pytest.mark.parametrize("change", [edit_code, remove_code, add_code, replace_large_data])
def test_code_and_data_that_change_while_a_stage_runs_fail_it(pipeline: Path, change) -> None:
    running = paused_in("prepare")
    expected = change()
    code, output = ended(running, "prepare")

    assert code != 0
    assert expected in output
    assert locked() == {}
    run_again()


def test_what_is_changed_and_restored_is_no_change(pipeline: Path) -> None:
    running = paused_in("prepare")
    edit_code()
    change_params(pipeline, {"data.seed": 7, "report.currency": "EUR"})
    git(pipeline, "checkout", "--quiet", "src", "params.yaml")
    Path("src/sub/more.py").touch()
    Path("src/sub/.more.py.swp").touch()  # it is open in an editor
    change_params(pipeline, {"resources.cpus_per_trial": 2})
    for file in (Path("params.yaml"), Path("dvc.yaml")):
        file.write_text(file.read_text() + "# a comment\n")
    shutil.copy2(LARGE, "copy")  # another inode, as a network file system may give to what is unchanged
    Path("copy").replace(LARGE)
    code, output = ended(running, "prepare")

    assert code == 0, output
    run_again()


def test_a_program_may_run_the_pipeline_again_with_other_values(pipeline: Path) -> None:
    program = """
from pathlib import Path
from dvc.repo import Repo
params = Path("params.yaml")
for seed in range(2):
    params.write_text(params.read_text().replace("seed: 0", f"seed: {seed}", 1))
    Repo().reproduce()
"""
    subprocess.run([sys.executable, "-c", program], env=environment(), check=True)

    assert Path("data/prepared").read_text() == "1"


def test_outputs_of_another_branch_are_not_those_that_dvc_lock_speaks_of(pipeline: Path) -> None:
    run_again()
    commit_all(pipeline)
    git(pipeline, "checkout", "--quiet", "-b", "other")
    change_params(pipeline, {"data.seed": 7, "compare.confidence": 0.8})
    run_again()
    commit_all(pipeline)
    git(pipeline, "checkout", "--quiet", "-")  # which leaves the outputs as they are

    subprocess.run(["dvc", "repro", "--single-item", "--force", "compare"], env=environment(), check=True)

    run_again()


@pytest.mark.parametrize("command", [DVC, OURS], ids=["dvc", "reconv"])
def test_an_experiment_beside_a_running_pipeline_does_not_change_its_next_stage(
    pipeline: Path, command: Sequence[str]
) -> None:
    running = paused_in("prepare", command)
    beside = ["dvc", "exp", "run", "-S", "compare.confidence=0.8"]
    assert subprocess.run(beside, env=environment(), capture_output=True, check=False).returncode != 0
    assert yaml.safe_load(Path("params.yaml").read_text())["compare"]["confidence"] == 0.8
    code, output = ended(running, "prepare")

    assert code != 0
    assert "[compare]  stopped" in output
    assert "params.yaml: compare.confidence was 0.95 when this `dvc` started, is 0.8 now" in output
    assert locked().keys() == {"prepare"}
    run_again()
    assert len(list(Path(".reconv/dvc").iterdir())) == 1  # that of the last one


def test_what_changes_as_a_stage_ends_is_found_by_the_next_one(pipeline: Path) -> None:
    script = Path("pipeline/prepare.py")
    late = "p = Path('params.yaml')\np.write_text(p.read_text().replace('seed: 0', 'seed: 7', 1))\n"
    script.write_text(script.read_text() + late)
    first = repro()
    output, _ = first.communicate(timeout=60)

    assert first.returncode != 0
    assert locked()["prepare"]["params"]["params.yaml"]["data"]["seed"] == 7
    assert "[compare]  stopped" in output
    assert "data.seed was 0 when this `dvc` started, is 7 now" in output

    again = repro()  # a `dvc` with one set of parameters
    output, _ = again.communicate(timeout=60)
    assert again.returncode != 0
    assert "dvc.lock does not say what the stage prepare used" in output
    assert "data.seed: dvc.lock says 7, it used 0" in output
    subprocess.run(["dvc", "repro", "--single-item", "--force", "prepare"], env=environment(), check=True)
    run_again()
