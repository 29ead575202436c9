"""Whatever dies while a stage runs on a cluster: the same command ends with what an uninterrupted one ends with.

Each run meets several faults, drawn from its seed. RECONV_FAULT_RUNS makes it more runs than CI's.
"""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from faults.harness import COMMON, FAULTS, Attempt, Cluster
from project_folder import change_params, environment

pytestmark = [pytest.mark.ray, pytest.mark.slow]

_RUNS = int(os.environ.get("RECONV_FAULT_RUNS", "2"))  # of each stage
_FAULTS_PER_RUN = 3
_SEEDS, _EPOCHS, _SEARCH_EPOCHS = 2, 20, 24


@pytest.fixture
def ready(project: Path, repository: Path, write_image_folder: Callable[..., Path]) -> Path:
    """Prepared, with values for trainings that take some seconds."""
    write_image_folder(project / "images", per_class=400, seed=1)
    change_params(
        project,
        {
            "train.num_seeds": _SEEDS,
            "train.max_epochs": _EPOCHS,
            "search.reproducible": True,
            "search.budget_epochs": _SEARCH_EPOCHS,
            "search.max_epochs": 4,
            "models.cnn.dropout": 0.2,
        },
    )
    for name in ("fetch", "prepare"):
        subprocess.run([sys.executable, repository / "pipeline" / f"{name}.py"], env=environment(), check=True)
    (project / "results" / "search" / "cnn").mkdir(parents=True)
    (project / "results" / "search" / "cnn" / "best.yaml").write_text("values: {}\n")
    return project


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    running = Cluster()
    yield running
    running.stop()


@pytest.mark.parametrize("seed", range(_RUNS))
def test_final_trainings_end_with_the_same_weights(
    ready: Path, cluster: Cluster, repository: Path, tmp_path: Path, seed: int
) -> None:
    change_params(ready, {"resources.storage": str(tmp_path / "storage") if seed % 2 else None})
    undisturbed, disturbed = attempts(ready, cluster, repository / "pipeline" / "train.py")

    inject(disturbed, random.Random(seed), _SEEDS * _EPOCHS)

    disturbed.assert_nothing_was_lost()
    assert weights(disturbed.project) == weights(undisturbed.project)


@pytest.mark.parametrize("seed", range(_RUNS))
def test_a_search_ends_with_the_same_trials(
    ready: Path, cluster: Cluster, repository: Path, tmp_path: Path, seed: int
) -> None:
    change_params(ready, {"resources.storage": None if seed % 2 else str(tmp_path / "storage")})
    undisturbed, disturbed = attempts(ready, cluster, repository / "pipeline" / "search.py")

    inject(disturbed, random.Random(1000 + seed), _SEARCH_EPOCHS)

    disturbed.assert_nothing_was_lost()
    pd.testing.assert_frame_equal(trials(disturbed.project), trials(undisturbed.project))


def attempts(ready: Path, cluster: Cluster, script: Path) -> tuple[Attempt, Attempt]:
    """One that has run undisturbed, and one that is to run."""
    apart = ready / "undisturbed"
    shutil.copytree(ready, apart, ignore=shutil.ignore_patterns(apart.name))
    undisturbed, disturbed = (Attempt(folder, cluster, script, f"{script.stem}-cnn") for folder in (apart, ready))
    undisturbed.start()
    undisturbed.finish()
    return undisturbed, disturbed


def inject(attempt: Attempt, rng: random.Random, num_epochs: int) -> None:
    """Faults at moments spread over the run; one that comes too late hits nothing."""
    attempt.start()
    injected = []
    for moment in sorted(rng.sample(range(2, num_epochs - num_epochs // 4), _FAULTS_PER_RUN)):
        if attempt.wait_for_epochs(moment):
            injected.append(f"{rng.choice(COMMON)} after {moment} epochs")
            FAULTS[injected[-1].split(" ", 1)[0]](attempt)
    attempt.finish()
    print("killed:", ", ".join(injected))
    assert injected


def weights(project: Path) -> dict[str, bytes]:
    found = {path.parent.name: path.read_bytes() for path in project.glob("results/train/cnn/*/weights.safetensors")}
    assert len(found) == _SEEDS
    return found


def trials(project: Path) -> pd.DataFrame:
    return pd.read_csv(project / "results" / "search" / "cnn" / "trials.csv").drop(columns="device_seconds")
