"""What the search costs besides training: per trial, in idle cores, and from the start of the command.

- Overhead per trial: the real `search` on a real Ray session, with trials that report one epoch and a checkpoint and
  train nothing. From the first trial's end to the last's, divided by the trials in between: what starts up once is not
  in it, and stands in the epochs per hour.
- Cores busy: a real search of the CNN. The epochs' seconds (training and validation, as the trials measure them) over
  the time of all cores from the start of the first epoch to the end of the last, so that what Ray, the driver,
  checkpoints and the last trial running alone leave idle all counts against us; and the same over the whole command.
- Epochs per hour from the start of the command: the stage `search` as `dvc repro` starts it, MLflow included, against
  plain Ray Tune and plain Optuna (peers/) with all cores, the tutorial's data path inside the trial, neither tracking
  nor checkpoints. Same images, augmentation and budget of epochs. Once all search the textbook's network (convolution,
  max pooling; batches of 128, AdamW) by learning rate, dropout and widths; once what params.yaml has, whose strided
  convolutions are cheaper, while our space also holds max and average pooling, which the peers' does not.
"""

import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
import yaml

import reconv.search.search as search_module
from benchmarks.measure import OURS, ROOT, Effort, Row, interleaved, ratio, run_command
from benchmarks.peers.data import torchvision_root
from benchmarks.peers.tutorial import LR
from reconv.artifacts import Budget
from reconv.data.arrays import PreparedData
from reconv.params import Params, load_params
from reconv.search.space import key_of
from reconv.search.trial import TrialSettings
from reconv.training.checkpoints import Checkpoints
from reconv.training.cluster import Session, ray_session
from reconv.training.job import EpochResult

TITLE = "The search: overhead, busy cores, epochs per hour"

_MODEL = "cnn"
_TRIALS_OF_NOTHING = 24
_PEERS = {"Ray Tune + Lightning": "ray_tune_example", "Optuna + Lightning": "optuna_example"}
# The tutorial's network and recipe, and the space that the peers search it in.
_TEXTBOOK: dict[str, dict[str, Any]] = {
    "models.cnn": {"widths": [32, 64, 128], "pooling": "max", "batch_norm": False, "whitened": False},
    "recipe": {"optimizer": "adamw", "lr": 1e-3, "batch_size": 128, "label_smoothing": 0.0, "test_time_flip": False},
    "search.space.cnn": {
        "lr": {"loguniform": list(LR["textbook"])},
        "dropout": {"uniform": [0.0, 0.4]},
        "widths": {"choice": [[32, 64, 128], [16, 32, 64, 128], [32, 64]]},
    },
}
_NETWORKS: dict[str, dict[str, dict[str, Any]]] = {"textbook": _TEXTBOOK, "ours": {}}
_PEER_OPTIONS = {
    "full": ["--trials", "6", "--max-epochs", "3", "--budget-epochs", "10"],
    "quick": ["--trials", "2", "--max-epochs", "1", "--train-images", "3000"],
}


def measure(effort: Effort) -> list[Row]:
    full = effort == "full"
    params, data = load_params(ROOT / "params.yaml"), PreparedData(ROOT / "data" / "prepared")
    epochs = 16 if full else 4
    with ray_session(params.resources) as session:
        overheads = [_overhead_seconds(params, data, session) for _ in range(3 if full else 1)]
        shares = [_busy_shares(params, data, session, epochs)]
    trained, ran = zip(*shares, strict=True)
    rows = [
        Row("overhead per trial after the first", "s", OURS, overheads, bar="<= 0.3 s", note="trials train nothing"),
        Row("cores busy", "%", OURS, trained, bar=">= 90 %", note=f"epochs' seconds, search of {epochs} epochs"),
        Row("cores busy, CPU time of all processes", "%", OURS, ran, note="in the same searches"),
    ]
    return rows + _epochs_per_hour(effort, epochs=10 if full else 2)


class Clock:
    """An observer that notes when what it is told happened."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.epochs: list[tuple[float, float]] = []
        """When each began and ended."""

    def started(self, key: str, name: str, values: Mapping[str, Any]) -> None: ...

    def begins(self, key: str, after_epoch: int, worker: str) -> None: ...

    def noticed(self, key: str, what: str) -> None: ...

    def note(self, text: str) -> None: ...

    def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        now = time.perf_counter()
        self.epochs.append((now - metrics["speed/epoch_seconds"], now))

    def finished(self, key: str, status: str) -> None:
        self.ends.append(time.perf_counter())

    def resumed(self, history: Any, ended: Any) -> None: ...


def trial_of_nothing(config: dict[str, Any], settings: TrialSettings) -> None:
    """In place of run_trial: one epoch with what a real one reports, a checkpoint included."""
    from ray import tune

    result = EpochResult(1, 1.0, 0.5, 1.0, config["lr"], 1.0, 0.0)
    Checkpoints(settings.state, key_of(config)).save(result, lambda path: path.write_bytes(bytes(1024)))
    tune.report({"epoch": 1, **result.as_metrics()})


def _overhead_seconds(params: Params, data: PreparedData, session: Session) -> float:
    clock = Clock()
    with patch.object(search_module, "run_trial", trial_of_nothing):
        _search(params, data, session, clock, {"budget_epochs": _TRIALS_OF_NOTHING, "max_epochs": 1})
    assert len(clock.ends) == _TRIALS_OF_NOTHING
    seconds = (clock.ends[-1] - clock.ends[0]) / (_TRIALS_OF_NOTHING - 1)
    print(f"  overhead per trial: {seconds:.2f} s", file=sys.stderr, flush=True)
    return seconds


def _busy_shares(params: Params, data: PreparedData, session: Session, epochs: int) -> tuple[float, float]:
    """Per cent of the cores' time that trials trained in, and that any process of ours ran in."""
    clock = Clock()
    with CpuTime() as cpu:
        _search(
            params, data, session, clock, {"budget_epochs": epochs, "max_epochs": min(epochs, params.search.max_epochs)}
        )
    begin, end = min(began for began, _ in clock.epochs), max(ended for _, ended in clock.epochs)
    trained = sum(ended - began for began, ended in clock.epochs) / (session.room * (end - begin))
    ran = cpu.between(begin, end) / (session.num_cpus * (end - begin))
    print(f"  cores busy: {trained:.1%}, CPU time {ran:.1%}", file=sys.stderr, flush=True)
    return 100 * trained, 100 * ran


def _search(params: Params, data: PreparedData, session: Session, clock: Clock, changes: dict[str, int]) -> None:
    one_search = params.train.model_copy(update={"num_seeds": 1})
    params = params.model_copy(update={"search": params.search.model_copy(update=changes), "train": one_search})
    with tempfile.TemporaryDirectory() as state:
        search_module.search(_MODEL, params, data, Path(state), session, clock)


class CpuTime:
    """Samples the CPU seconds of this process and all below it."""

    def __init__(self, every_seconds: float = 0.5) -> None:
        self._every = every_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._seconds: dict[psutil.Process, float] = {}
        self._samples: list[tuple[float, float]] = []

    def __enter__(self) -> "CpuTime":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def between(self, begin: float, end: float) -> float:
        times, seconds = zip(*self._samples, strict=True)
        return float(np.interp(end, times, seconds) - np.interp(begin, times, seconds))

    def _sample(self) -> None:
        root = psutil.Process()
        while not self._over.wait(self._every):
            for process in [root, *root.children(recursive=True)]:
                try:
                    spent = process.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                self._seconds[process] = spent.user + spent.system
            self._samples.append((time.perf_counter(), sum(self._seconds.values())))


def _epochs_per_hour(effort: Effort, epochs: int) -> list[Row]:
    """Rows of all contenders, and of how busy our command kept the cores."""
    rows = []
    for network, changes in _NETWORKS.items():
        busy: list[float] = []
        contenders = {OURS: lambda changes=changes, busy=busy: _run_stage(epochs, changes, busy)}
        for name, peer in _PEERS.items():
            options = [*_PEER_OPTIONS[effort], "--network", network]
            contenders[name] = lambda peer=peer, options=options: _run_peer(peer, options)
        values = interleaved(contenders, 1)  # the peers take minutes each
        what = "the textbook's network" if network == "textbook" else "the network of params.yaml"
        for name, speeds in values.items():
            better = None if name == OURS else ratio(values[OURS], speeds, lower_is_better=False)
            bar = "" if name == OURS else ">= 4 x the better"
            rows.append(Row(f"epochs per hour from the command's start, {what}", "", name, speeds, better, bar))
        rows.append(Row(f"cores busy, the whole command, {what}", "%", OURS, busy, note=f"search of {epochs} epochs"))
    return rows


def _run_stage(epochs: int, changes: dict[str, dict[str, Any]], busy: list[float]) -> float:
    """The stage in a folder of its own, as DVC starts it, with `changes` laid over sections; epochs per hour."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "data").mkdir()
        (folder / "data" / "prepared").symlink_to(ROOT / "data" / "prepared")
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        params["search"].update(budget_epochs=epochs, max_epochs=min(epochs, 3))
        params["train"]["num_seeds"] = 1  # one search
        for key, values in changes.items():
            *sections, last = key.split(".")
            section = params
            for part in sections:
                section = section[part]
            # A space is replaced as a whole, other sections are changed.
            section[last] = values if "space" in sections else {**section[last], **values}
        (folder / "params.yaml").write_text(yaml.safe_dump(params))
        ran = run_command([sys.executable, "pipeline/search.py", _MODEL], cwd=folder, env={"CI": "true"})
        budget = Budget.load(folder / "results" / "search" / _MODEL / "budget.json")
    busy.append(100 * budget.device_seconds / (len(os.sched_getaffinity(0)) * ran.seconds))
    return budget.spent_epochs / ran.seconds * 3600


def _run_peer(peer: str, options: list[str]) -> float:
    command = [sys.executable, "-m", f"benchmarks.peers.{peer}", "--data", torchvision_root()]
    ran = run_command([*command, *options])
    return float(ran.reports[-1]["epochs"]) / ran.seconds * 3600
