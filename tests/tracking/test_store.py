"""A new store is there as a whole or not at all."""

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from reconv.errors import UnavailableError
from reconv.params import Params
from reconv.tracking.opening import open_stage_run

STORE = Path("mlflow.db")


def test_a_new_store_is_made_beside_params_yaml(params: Params) -> None:
    with open_stage_run(params, "prepare", None, print) as run:
        run.log_params({"seed": 0})

    assert STORE.exists()
    assert [path.name for path in Path().glob("*mlflow.db*")] == ["mlflow.db"]
    client = MlflowClient(f"sqlite:///{STORE.resolve()}")
    assert client.get_run(run.run_id).data.params["seed"] == "0"


def test_what_interrupts_its_making_leaves_none(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as broken, pytest.raises(UnavailableError, match="no space left"):
        broken.setattr(MlflowClient, "search_experiments", fail)
        with open_stage_run(params, "prepare", None, print):
            pass
    assert not list(Path().glob("*mlflow.db*"))

    with open_stage_run(params, "prepare", None, print):
        assert STORE.exists()
