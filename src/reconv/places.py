"""Where each file is that stages exchange, relative to the project's folder."""

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
