"""The whole pipeline, from `dvc repro` to its prompt: what share is spent on other things than training and evaluating.

The project is copied into an empty folder with its default values, so that nothing is cached and MLflow's store is new;
only data/raw is taken along where the checkout has it, as a download says nothing about the program. `dvc repro` runs
once (repeats: 1), as a user starts it; RECONV_BENCH_KEEP names an empty folder for it that is kept. Nothing in it is
instrumented: when each stage's process began and ended is read from outside (every 20 ms), when epochs ran from the
store that the run leaves. The causes add up to the wall time:

- training: the time in which at least one epoch ran, of a trial or a seed; evaluating: the body of the stage evaluate,
  and that of the study after its last epoch;
- imports of the stage's script: measured alone (Python's own start included), as is opening MLflow (its import and the
  store); what remains of a stage's start is Ray, its workers and what they import, in a stage without Ray MLflow;
- between epochs: no epoch runs, but some are to come (a new trial, a checkpoint); tail: from the last epoch, or the end
  of the body, to the end of the process; DVC: its start, its end and what lies between two stages.
"""

import ast
import os
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measure import OURS, ROOT, Effort, PeakMemory, Row, interleaved

TITLE = (
    "The pipeline: what is neither training nor evaluating, a run with nothing to do, start-up of the stages, memory"
)
QUICK: dict[str, Any] = {
    "search.budget_epochs": 2,
    "search.max_epochs": 1,
    "train.max_epochs": 1,
    "train.num_seeds": 2,
    "models.cnn.widths": [4, 8],
    "models.feedforward.widths": [16],
    "search.space.cnn": {"lr": {"loguniform": [1.0e-3, 3.0e-2]}},
    "search.space.feedforward": {"lr": {"loguniform": [1.0e-3, 3.0e-2]}},
    "compare.num_resamples": 200,
}
_POLL_SECONDS = 0.02
_OPEN_MLFLOW = (
    "began = time.time(); import mlflow; from mlflow.tracking import MlflowClient; "
    "MlflowClient('sqlite:///mlflow.db').get_experiment_by_name('none'); print(time.time() - began)"
)


@dataclass
class StageTimes:
    """Seconds since the epoch."""

    began: float
    ended: float = 0.0
    body: tuple[float, float] = (0.0, 0.0)
    """From the MLflow run's start to its end."""
    epochs: list[tuple[float, float]] = field(default_factory=list)


def measure(effort: Effort) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="reconv-pipeline-") as temporary:
        folder = Path(os.environ.get("RECONV_BENCH_KEEP") or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        has_raw = _copy_project(folder, QUICK if effort == "quick" else {})
        wall, peak, stages = _repro(folder)
        _read_store(folder / "mlflow.db", stages)
        repeats = 1 if effort == "quick" else 5
        nothing = interleaved({"dvc repro, nothing to do": lambda: _nothing_to_do(folder)}, repeats)
        alone = {name: statistics.median(v) for name, v in interleaved(_imports(folder, stages), repeats).items()}
    causes = split(wall, stages, alone)
    outside = wall - causes["training"] - causes["evaluating"]
    raw = "data/raw was there" if has_raw else "data/raw was fetched"
    return [
        Row("dvc repro", "s", OURS, [wall], note=raw),
        Row(
            "neither training nor evaluating", "%", OURS, [100 * outside / wall], bar="<= 10 %", note=f"{outside:.1f} s"
        ),
        *(Row(f"dvc repro: {cause}", "s", OURS, [s], note=f"{100 * s / wall:.1f} %") for cause, s in causes.items()),
        Row("peak memory of all processes", "MB", OURS, [peak / 1e6], note="PSS"),
        Row("dvc repro, nothing to do", "s", OURS, next(iter(nothing.values())), bar="<= 1 s"),
        *(_start_up(name, stage, alone[_script(name)]) for name, stage in stages.items()),
    ]


def split(wall: float, stages: dict[str, StageTimes], alone: dict[str, float]) -> dict[str, float]:
    """Cause -> seconds; the sum is `wall`."""
    causes = Counter({"training": 0.0, "evaluating": 0.0})
    for name, stage in stages.items():
        starts = _work_begins(stage) - stage.began
        imports = min(alone[_script(name)], starts)
        mlflow = min(alone["MLflow"], starts - imports) if stage.epochs else starts - imports
        causes["imports of the stages' scripts"] += imports
        causes["MLflow: its import, opening or making its store"] += mlflow
        causes["Ray, its workers and their imports"] += starts - imports - mlflow
        if stage.epochs:
            first, last = stage.epochs[0][0], max(end for _, end in stage.epochs)
            training = _union(stage.epochs)
            causes["training"] += training
            causes["between epochs"] += last - first - training
            if name == "study":  # which measures what it trained
                causes["evaluating"] += stage.body[1] - last
                last = stage.body[1]
        else:
            first, last = stage.body
            causes["evaluating" if name.startswith("evaluate") else "bodies of the other stages"] += last - first
        causes["tails of the stages"] += stage.ended - last
    causes["DVC"] = wall - sum(causes.values())
    return dict(causes)


def _work_begins(stage: StageTimes) -> float:
    return stage.epochs[0][0] if stage.epochs else stage.body[0]


def _start_up(name: str, stage: StageTimes, imports: float) -> Row:
    until = "first epoch" if stage.epochs else "body"
    seconds = _work_begins(stage) - stage.began
    return Row(f"start-up of {name}", "s", OURS, [seconds], note=f"until its {until}; {imports:.1f} s are imports")


def _union(intervals: list[tuple[float, float]]) -> float:
    """Length of the union of `intervals`, which are in order of their start."""
    length, end = 0.0, float("-inf")
    for start, stop in intervals:
        length += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return length


def _copy_project(to: Path, changes: dict[str, Any]) -> bool:
    """Whether data/raw came along."""
    wanted = ("dvc.yaml", ".dvcignore", "params.yaml", "pipeline", "src")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *wanted]
    files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, files.split("\0")):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, to / name)
    params = yaml.safe_load((to / "params.yaml").read_text(encoding="utf-8"))
    for key, value in changes.items():
        *sections, last = key.split(".")
        section = params
        for part in sections:
            section = section[part]
        section[last] = value
    if changes:
        (to / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    for command in (
        ["git", "init", "--quiet"],
        ["dvc", "init", "--quiet"],
        ["git", "add", "--all"],
        ["git", "-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost", "commit", "--quiet", "-m", "copy"],
        [sys.executable, "-m", "compileall", "-q", "src"],
    ):
        subprocess.run(command, cwd=to, env=_environment(to), check=True)
    if has_raw := (ROOT / "data" / "raw" / "source.json").exists():
        shutil.copytree(ROOT / "data" / "raw", to / "data" / "raw")
    return has_raw


def _environment(folder: Path) -> dict[str, str]:
    """The caller's, less what says where to run; reconv is that of `folder`."""
    without = ("RAY_ADDRESS", "RAY_AUTH_MODE", "MLFLOW_TRACKING_URI", "RECONV_VERBOSE", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if name not in without}
    path = f"{Path(sys.executable).parent}:{kept['PATH']}"
    return {**kept, "PATH": path, "PYTHONPATH": str(folder / "src"), "CI": "true"}


def _repro(folder: Path) -> tuple[float, int, dict[str, StageTimes]]:
    """Wall seconds, peak bytes of the process tree, and when each stage's process began and ended."""
    stages: dict[str, StageTimes] = {}
    with (folder / "repro.log").open("w+", encoding="utf-8") as log:
        began = time.time()
        process = subprocess.Popen(
            ["dvc", "repro"], cwd=folder, env=_environment(folder), stdout=log, stderr=subprocess.STDOUT
        )
        watcher = threading.Thread(target=_watch, args=(process, stages), daemon=True)
        with PeakMemory(process.pid, every_seconds=1.0) as memory:
            watcher.start()
            code = process.wait()
            wall = time.time() - began
        watcher.join()
        log.seek(0)
        said = log.read()
    print(said, file=sys.stderr, flush=True)
    if code:
        raise RuntimeError(f"dvc repro ended with {code}:\n{said[-3000:]}")
    return wall, memory.peak_bytes, stages


def _watch(dvc: "subprocess.Popen[bytes]", stages: dict[str, StageTimes]) -> None:
    """Note when children of DVC that run a stage's script come and go."""
    running: dict[str, StageTimes] = {}
    while dvc.returncode is None:
        now = time.time()
        try:
            children = Path(f"/proc/{dvc.pid}/task/{dvc.pid}/children").read_text().split()
        except OSError:
            children = []
        for pid in set(running) - set(children):
            running.pop(pid).ended = now
        for pid in set(children) - set(running):
            if name := _stage_of(pid):
                running[pid] = stages[name] = StageTimes(began=now)
        time.sleep(_POLL_SECONDS)
    for stage in running.values():
        stage.ended = time.time()


def _stage_of(pid: str) -> str | None:
    """`search cnn` of the process that runs `python pipeline/search.py cnn`."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return None
    found = re.search(r"pipeline/(\w+)\.py(?: (\w+))?", command)
    return " ".join(part for part in found.groups() if part) if found else None


def _read_store(database: Path, stages: dict[str, StageTimes]) -> None:
    """Add to each stage when its body ran, and its epochs."""
    child = "SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId' AND value = ?"
    epochs = f"""
        SELECT loss.timestamp / 1000.0 - seconds.value, loss.timestamp / 1000.0
        FROM metrics AS loss JOIN metrics AS seconds ON loss.run_uuid = seconds.run_uuid AND loss.step = seconds.step
        WHERE loss.key = 'train/loss' AND seconds.key = 'speed/epoch_seconds' AND loss.run_uuid IN ({child})
        ORDER BY 1"""
    with sqlite3.connect(database) as store:
        for name, stage in stages.items():
            query = "SELECT run_uuid, start_time / 1000.0, end_time / 1000.0 FROM runs WHERE name = ?"
            ((run, start, end),) = store.execute(query, (name,)).fetchall()
            stage.body = (start, end)
            stage.epochs = store.execute(epochs, (run,)).fetchall()


def _nothing_to_do(folder: Path) -> float:
    began = time.perf_counter()
    done = subprocess.run(
        ["dvc", "repro"], cwd=folder, env=_environment(folder), check=True, capture_output=True, text=True
    )
    seconds = time.perf_counter() - began
    assert "Running stage" not in done.stdout, done.stdout
    return seconds


def _script(stage: str) -> str:
    return stage.split(maxsplit=1)[0]


def _imports(folder: Path, stages: dict[str, StageTimes]) -> dict[str, Any]:
    """For each script, and for MLflow: run it alone and say for how long."""

    def seconds_of(statements: str, from_start: bool) -> float:
        began = time.time()
        ran = subprocess.run(
            [sys.executable, "-c", statements],
            cwd=folder,
            env=_environment(folder),
            check=True,
            capture_output=True,
            text=True,
        )
        return float(ran.stdout.split()[-1]) - (began if from_start else 0.0)

    contenders = {}
    for name in dict.fromkeys(map(_script, stages)):
        source = ast.parse((folder / "pipeline" / f"{name}.py").read_text(encoding="utf-8"))
        imports = [ast.unparse(node) for node in source.body if isinstance(node, ast.Import | ast.ImportFrom)]
        statements = "\n".join([*imports, "import time", "print(time.time())"])
        contenders[name] = lambda statements=statements: seconds_of(statements, from_start=True)
    # pandas and numpy, which MLflow imports as well, are among the imports of nearly every script.
    contenders["MLflow"] = lambda: seconds_of(f"import time, pandas; {_OPEN_MLFLOW}", from_start=False)
    return contenders
