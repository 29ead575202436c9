"""Whatever dies or fails while a stage runs on a cluster, the same command ends with what an undisturbed one ends with.

Each run of a stage meets several faults, dealt and timed by its seed: one run of each stage meets every kind once.
RECONV_FAULT_RUNS makes it more runs than CI's, which leaves out what takes a minute.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import pytest
import yaml
from conftest import REPOSITORY, _tiny_values, write_images
from faults.cluster import Cluster
from faults.harness import FAULTS, Attempt
from faults.tracking import Tracking, running_tracking
from project_folder import change_params, copy_pipeline, environment

from benchmarks.servers import missing_for_postgres
from reconv.artifacts import Best, Choice

pytestmark = [pytest.mark.ray, pytest.mark.slow]

_RUNS = int(os.environ.get("RECONV_FAULT_RUNS", "0"))  # of each stage
_DEAR = () if _RUNS else ("head",)
_SEEDS, _EPOCHS, _SEARCH_EPOCHS = 2, 80, 36
_MOST_EPOCHS_BETWEEN = {"train": 10, "search": 4}
_FILE_SYSTEM_BYTES = 64 << 20


@dataclass
class Injected:
    """A fault, and what became of its run."""

    fault: str
    seconds: float
    """Until an epoch was reported after it, its own time included."""
    has_recovered: bool = False


@pytest.fixture(scope="module")
def injected() -> Iterator[list[Injected]]:
    """Of all runs; printed at the end, as a row of a table for each kind."""
    faults: list[Injected] = []
    yield faults
    print("\n\n| fault | injected | recovered | failed | seconds to the next epoch (median) |\n|---|---|---|---|---|")
    for name in FAULTS:
        if of_kind := [one for one in faults if one.fault == name]:
            recovered = sum(one.has_recovered for one in of_kind)
            seconds = median(one.seconds for one in of_kind)
            print(f"| {name} | {len(of_kind)} | {recovered} | {len(of_kind) - recovered} | {seconds:.0f} |")
    recovered = sum(one.has_recovered for one in faults)
    print(f"| all | {len(faults)} | {recovered} | {len(faults) - recovered} | |")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    running = Cluster()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracking]:
    if missing := missing_for_postgres():
        pytest.skip(missing)
    with running_tracking(tmp_path_factory.mktemp("tracking")) as running:
        yield running


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose images are prepared, with values for trainings that take some seconds."""
    project = tmp_path_factory.mktemp("ready") / "project"
    write_images(project / "images", per_class=400, seed=1)
    (project / "params.yaml").write_text(yaml.safe_dump(_tiny_values(), sort_keys=False))
    change_params(
        project,
        {
            "train.num_seeds": _SEEDS,
            "train.max_epochs": _EPOCHS,
            "search.reproducible": True,
            "search.budget_epochs": _SEARCH_EPOCHS // _SEEDS,
            "search.max_epochs": 4,
            "models.cnn.dropout": 0.2,
        },
    )
    copy_pipeline(REPOSITORY, project)
    for name in ("fetch", "prepare"):
        subprocess.run([sys.executable, f"pipeline/{name}.py"], cwd=project, env=environment(), check=True)
    shutil.rmtree(project / ".reconv")
    (project / "results" / "search" / "cnn").mkdir(parents=True)
    nothing = Choice(
        trial=1, epochs=1, validation_accuracy=0.5, is_incumbent=True, lead=None, lead_error=None, values={}
    )
    Best(choices=(nothing,) * _SEEDS).save(project / "results" / "search" / "cnn" / "best.json")
    return project


@pytest.fixture(scope="module")
def undisturbed(
    ready: Path, cluster: Cluster, tracking: Tracking, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Attempt]:
    """undisturbed("train"): that stage, run once without a fault."""
    done: dict[str, Attempt] = {}

    def run(stage: str) -> Attempt:
        if stage not in done:
            project = shutil.copytree(ready, tmp_path_factory.mktemp(stage) / "project")
            done[stage] = Attempt(project, cluster, tracking, stage)
            done[stage].start()
            done[stage].finish()
        return done[stage]

    return run


@pytest.mark.parametrize("stage", ["train", "search"])
@pytest.mark.parametrize("seed", range(_RUNS or 1))
def test_a_disturbed_stage_ends_as_an_undisturbed_one(
    ready: Path,
    cluster: Cluster,
    tracking: Tracking,
    undisturbed: Callable[[str], Attempt],
    injected: list[Injected],
    tmp_path: Path,
    stage: str,
    seed: int,
) -> None:
    expected = undisturbed(stage)
    with small_disk(tmp_path / "disk") as disk:
        attempt = Attempt(shutil.copytree(ready, disk / "project"), cluster, tracking, stage)
        has_storage = (seed % 2 == 1) == (stage == "train")
        change_params(attempt.project, {"resources.storage": str(disk / "storage") if has_storage else None})
        met = injected[len(injected) :]
        try:
            for one in inject(attempt, dealt(seed, stage, disk.is_mount()), random.Random(f"{stage} {seed}")):
                met.append(one)
                injected.append(one)
            assert met
            attempt.finish()
            attempt.assert_nothing_was_lost(OUTCOMES[stage](expected.project)[0])
            assert OUTCOMES[stage](attempt.project) == OUTCOMES[stage](expected.project)
        finally:
            attempt.end()
    for one in met:
        one.has_recovered = True


def dealt(seed: int, stage: str, can_be_full: bool) -> list[str]:
    """Of all kinds of faults in the seed's order, one half for each stage."""
    kinds = [name for name in FAULTS if name not in _DEAR and (can_be_full or name != "full disk")]
    random.Random(seed).shuffle(kinds)
    half = (len(kinds) + seed % 2) // 2
    return kinds[:half] if stage == "train" else kinds[half:]


def inject(attempt: Attempt, faults: list[str], rng: random.Random) -> Iterator[Injected]:
    """One after the other, some epochs apart; one that comes too late hits nothing."""
    attempt.start()
    for fault in faults:
        if not attempt.wait_for_epochs(attempt.num_epochs() + rng.randint(1, _MOST_EPOCHS_BETWEEN[attempt.stage])):
            return
        attempt.look()
        began = time.monotonic()
        print(f"{attempt.stage}: {fault} after {attempt.num_epochs()} epochs", end="", flush=True)
        FAULTS[fault](attempt)
        attempt.wait_for_epochs(attempt.num_epochs() + 1)
        yield Injected(fault, time.monotonic() - began)
        print(f", {time.monotonic() - began:.0f} s")


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own where one can be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_FILE_SYSTEM_BYTES}", "tmpfs", str(folder)]
    is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield folder
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def trained(project: Path) -> tuple[dict[str, int], Any]:
    """Seeds with the number of their epochs, and their weights."""
    found = {path.parent.name: path.read_bytes() for path in project.glob("results/train/cnn/*/weights.safetensors")}
    return {f"seed {seed}": _EPOCHS for seed in range(_SEEDS)}, found


def searched(project: Path) -> tuple[dict[str, int], Any]:
    """Trials with the number of their epochs, and what the search wrote of them."""
    table = pd.read_csv(project / "results" / "search" / "cnn" / "trials.csv").drop(columns="device_seconds")
    epochs = {f"trial {row.trial:02d}": row.epochs for row in table.itertuples()}
    return epochs, table.to_csv()


OUTCOMES: dict[str, Callable[[Path], tuple[dict[str, int], Any]]] = {"train": trained, "search": searched}
