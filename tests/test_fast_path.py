"""What makes reconv fast, guarded without timing anything: a change that loses one of these fails here."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from project_folder import environment

from reconv.data.arrays import PreparedData, Split
from reconv.data.batches import Resident, TrainingBatches
from reconv.params import AugmentParams
from reconv.training.fit import fit
from reconv.training.job import TrainingJob
from reconv.training.steps import ClassifierTraining

REPOSITORY = Path(__file__).resolve().parents[1]
# Seconds each, in every process that imports them.
SLOW_TO_IMPORT = {"torch", "torchvision", "pytorch_lightning", "ray", "mlflow", "scipy.stats", "matplotlib", "plotly"}
NEEDED = {
    "evaluate.py": {"torch"},
    "explain.py": {"torch"},
    "compare.py": {"scipy.stats", "plotly"},
    "register.py": {"scipy.stats", "torch"},
}
CPU = torch.device("cpu")


@pytest.mark.parametrize("script", sorted(path.name for path in (REPOSITORY / "pipeline").glob("*.py")))
def test_a_stage_starts_without_what_it_does_not_need(script: str) -> None:
    """What a script imports before it runs; the drivers of search and train leave torch to their workers."""
    code = (
        "import runpy, sys; sys.argv[1:] = ['cnn']; sys.path.insert(0, 'pipeline');"
        f"runpy.run_path('pipeline/{script}', run_name='imported');"
        "print(*sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=True
    )

    assert set(ran.stdout.split()) & SLOW_TO_IMPORT <= NEEDED.get(script, set())


def test_training_reads_the_mapped_file_and_copies_nothing(prepared: PreparedData) -> None:
    for split in (prepared.train, prepared.validation, prepared.development, prepared.test):
        resident = Resident(split, CPU)

        assert isinstance(split.images[:], np.memmap)
        assert resident.take(slice(None))[0].data_ptr() == split.images[:].ctypes.data
        assert resident.labels_N.data_ptr() == split.labels.ctypes.data


def calls_during(work: Callable[[], Any]) -> int:
    """How many functions, Python's and C's, `work` calls."""
    count = 0

    def tally(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(tally)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_a_batch_takes_as_many_calls_whatever_its_size() -> None:
    images = np.zeros((512, 8, 8, 1), dtype=np.uint8)
    data = Resident(Split(images, np.zeros(512, dtype=np.int64)), CPU)

    def one_batch(size: int) -> Callable[[], Any]:
        return lambda: next(iter(TrainingBatches(data, size, AugmentParams(crop=1, flip=True), seed=0, epoch=0)))

    assert calls_during(one_batch(512)) == calls_during(one_batch(2))


def test_lightning_does_its_work_once_an_epoch(
    prepared: PreparedData, make_job: Callable[..., TrainingJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    step = ClassifierTraining.training_step

    def counted(self: ClassifierTraining, batches: Any, index: int) -> None:
        steps.append(len(batches))
        step(self, batches, index)

    monkeypatch.setattr(ClassifierTraining, "training_step", counted)
    job = make_job(epochs=2, changes={"recipe.batch_size": 4})

    fit(job, prepared.manifest, prepared.train, None, lambda *_: None)

    assert steps == [len(prepared.train) // 4] * 2
