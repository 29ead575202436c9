"""Where each file is that stages exchange, relative to the project's folder."""

import os
from pathlib import Path

RAW = Path("data/raw")
PREPARED = Path("data/prepared")
RESULTS = Path("results")
STUDY = RESULTS / "study"
EXPLAIN = RESULTS / "explain"
COMPARE = RESULTS / "compare"
REGISTERED = RESULTS / "register.json"
REGISTRY_STATE = RESULTS / "registry.json"
STATE = Path(".reconv")  # what an interrupted stage needs to go on; not an output
DOWNLOADS = STATE / "downloads"
RECORDS = STATE / "records"  # on their way to MLflow
LOCKS = STATE / "locks"  # of the stages that run
LOGS = Path("logs")

CNN, BASELINE = "cnn", "feedforward"
"""The two models that are compared."""


def project() -> Path:
    """Return the folder where everything is that must outlive a working copy: the current one, or, for an experiment
    that DVC runs in a temporary copy (`dvc exp run --temp`, `dvc queue start`), that of the project."""
    root = os.environ.get("DVC_ROOT")  # DVC sets it for all that it starts, also in a copy, which is in its .dvc/tmp
    if root and Path.cwd().is_relative_to(Path(root, ".dvc", "tmp").resolve()):
        return Path(root).resolve()
    return Path()


def from_project(path: Path) -> Path:
    """Return where a path in params.yaml leads: what neither git nor DVC brings to a temporary copy is in the
    project."""
    return path if path.exists() else project() / path


def logs() -> Path:
    """Return the folder of the logs. An experiment in a temporary copy has its own in the project."""
    if project() == Path():
        return LOGS
    return project() / LOGS / "experiments" / os.environ.get("DVC_EXP_NAME", Path.cwd().name)


def search_dir(model: str) -> Path:
    return RESULTS / "search" / model


def train_dir(model: str) -> Path:
    return RESULTS / "train" / model


def evaluate_dir(model: str) -> Path:
    return RESULTS / "evaluate" / model


def seed_dir(model: str, seed: int) -> Path:
    return train_dir(model) / f"seed-{seed}"


def run_file(stage: str, model: str | None = None) -> Path:
    """Where a stage's output says which MLflow run it came from."""
    return RESULTS / "runs" / f"{f'{stage}-{model}' if model else stage}.json"
