"""Ray Tune around fit: the best values of one model within a budget of epochs. Called by the stage `search`.

With several trials at once, their timing decides which results ASHA has seen when it stops a trial, so that two runs
may differ. With `search.reproducible` trials run one after the other and two runs are equal.
"""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from reconv.artifacts import Budget
from reconv.data.arrays import PreparedData
from reconv.errors import MemoryShortError, TrainingError
from reconv.files import REFUSED_BY_DISK, AnyPath
from reconv.params import Params
from reconv.search.space import default_point, from_tune, to_tune
from reconv.search.trial import TrialSettings, run_trial
from reconv.search.whole_files import WholeFiles
from reconv.training.cluster import Session
from reconv.training.delivery import Delivery, deliver
from reconv.training.energy import metered
from reconv.training.observer import Observer
from reconv.training.sharing import largest_of_search, with_shared_gpus
from reconv.training.shortage import Place, Shortages, as_tune_resources, what_follows

_EXPERIMENT = "tune"
_SEARCHER = "Optuna's TPE, ASHA"
_MAX_FAILURES_OF_A_TRIAL = 2


@dataclass(frozen=True)
class SearchOutcome:
    trials: pd.DataFrame
    """A row per trial: trial, status, epochs, validation/accuracy (the best epoch's), device_seconds, its values."""
    best: dict[str, Any]
    """trial, epochs, validation_accuracy, values."""
    budget: Budget


def search(
    model: str, params: Params, data: PreparedData, state: AnyPath, session: Session, observer: Observer
) -> SearchOutcome:
    """Spend search.budget_epochs on `model`; an interrupted search in `state` goes on.

    Raises:
        TrainingError: several trials in a row failed.
    """
    os.environ.update(
        RAY_CHDIR_TO_TRIAL_DIR="0",
        TUNE_DISABLE_SIGINT_HANDLER="1",  # Ctrl-C is the stage's to answer
        # To write the state takes up to 0.15 ms for each trial that there is: a twentieth of the time at most.
        TUNE_GLOBAL_CHECKPOINT_S=str(0.003 * params.search.budget_epochs),
    )
    delivery = deliver(data, session)
    if session.gpu_share_is_measured and not params.search.reproducible:
        largest = largest_of_search(model, params, data.manifest)
        session = with_shared_gpus(session, [largest], None, delivery, observer)
    # No node of a cluster has as many cores as all of them together.
    takes_all = params.search.reproducible and session.is_local
    cpus = session.num_cpus if takes_all else session.cpus_per_training
    room = 1 if params.search.reproducible else session.room
    resources = as_tune_resources({**session.needs, "CPU": cpus})
    with metered(state, session.is_local) as meter:
        shortages = Shortages(session)
        trials, scheduler = _tune(model, params, delivery, state, observer, resources, room, shortages)
    if not trials:
        raise TrainingError(f"the search in {state} cannot go on: delete that folder, and it begins anew.")
    if scheduler.has_failed or not scheduler.history:
        failed = next((trial for trial in reversed(trials) if trial.error_file), None)
        reason = _reason(failed, scheduler.ran_out) if failed else "no trial reported a result"
        raise TrainingError(f"{scheduler.failures_in_a_row} trials in a row failed, the last with: {reason}")
    devices = session.gpus_per_training or cpus
    table = _table(trials, scheduler.history, params.search.max_epochs, devices)
    return SearchOutcome(
        trials=table,
        best=_best(table, trials),
        budget=Budget(
            searcher=_SEARCHER,
            budget_epochs=params.search.budget_epochs,
            max_epochs=params.search.max_epochs,
            seed=params.search.seed,
            data_digest=data.manifest.digest,
            spent_epochs=scheduler.spent_epochs,
            device_seconds=float(table["device_seconds"].sum()),
            energy=meter.energy,
            num_trials=len(table),
        ),
    )


def _tune(
    model: str,
    params: Params,
    delivery: Delivery,
    state: AnyPath,
    observer: Observer,
    resources: dict[str, float],
    room: int,
    shortages: Shortages,
) -> tuple[list[Any], Any]:
    """Ray Tune's trials, and the scheduler with what each reported."""
    from ray import tune

    from reconv.search.actors import use_workers_well
    from reconv.search.budget import BudgetedASHA, BudgetedOptunaSearch
    from reconv.search.report import ReportToObserver, last_failure

    section = params.search
    space = section.space[model]
    epochs = (section.budget_epochs, section.max_epochs, section.grace_epochs)
    scheduler = BudgetedASHA(*epochs, section.reduction_factor, lambda trial: shortages.told_by(last_failure(trial)))
    first = default_point(space, params.recipe, params.network(model))
    searcher = BudgetedOptunaSearch(scheduler, points_to_evaluate=[first] if first else None, seed=section.seed)
    settings = TrialSettings(model, params, delivery, num_threads=int(resources["cpu"]))
    use_workers_well()
    try:
        analysis = tune.run(
            functools.partial(run_trial, settings=settings),
            name=_EXPERIMENT,
            **_storage(state),
            config=to_tune(space),
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,
            # No suggestion is made before there is room for it, so that it is made knowing every result until then.
            max_concurrent_trials=room,
            resources_per_trial=resources,
            reuse_actors=True,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=2),
            max_failures=_MAX_FAILURES_OF_A_TRIAL,
            raise_on_failed_trial=False,
            callbacks=[ReportToObserver(observer, scheduler, section.max_epochs)],
            resume="AUTO+ERRORED" if list((state / _EXPERIMENT).glob("experiment_state-*.json")) else None,
            verbose=0,
        )
    except tune.TuneError as error:
        raise _refused_by_disk(error) or error from None
    return analysis.trials, scheduler


def _refused_by_disk(error: BaseException | None) -> OSError | None:
    """What the user has to mend, if it is that: whatever a callback raises becomes an error of Ray Tune's."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in REFUSED_BY_DISK:
            return error
        error = error.__context__
    return None


def _storage(state: AnyPath) -> dict[str, Any]:
    """Where Ray Tune keeps its state and the trials' checkpoints."""
    from fsspec.implementations.local import LocalFileSystem
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    path = str(state.resolve()) if isinstance(state, Path) else state.path
    system = WholeFiles() if isinstance(state, Path) or isinstance(state.fs, LocalFileSystem) else state.fs
    return {"storage_path": path, "storage_filesystem": PyFileSystem(FSSpecHandler(system))}


def _table(
    trials: list[Any], history: dict[str, dict[int, dict[str, float]]], max_epochs: int, devices: float
) -> pd.DataFrame:
    from reconv.search.budget import METRIC
    from reconv.search.report import status_of, trial_number

    rows = []
    for trial in sorted(trials, key=trial_number):
        epochs = history.get(trial.trial_id, {})
        best = max(epochs.values(), key=lambda metrics: metrics[METRIC], default={})
        rows.append(
            {
                "trial": trial_number(trial),
                "status": status_of(trial, epochs, max_epochs),
                "epochs": len(epochs),
                METRIC: best.get(METRIC),
                "validation/loss": best.get("validation/loss"),
                "device_seconds": sum(metrics["speed/epoch_seconds"] for metrics in epochs.values()) * devices,
                **{name: str(v) if isinstance(v, list) else v for name, v in from_tune(trial.config).items()},
            }
        )
    return pd.DataFrame(rows)


def _best(table: pd.DataFrame, trials: list[Any]) -> dict[str, Any]:
    from reconv.search.budget import METRIC
    from reconv.search.report import trial_number

    row = table.iloc[int(table[METRIC].argmax())]
    (trial,) = (trial for trial in trials if trial_number(trial) == row["trial"])
    return {
        "trial": int(row["trial"]),
        "epochs": int(row["epochs"]),
        "validation_accuracy": float(row[METRIC]),
        "values": from_tune(trial.config),
    }


def _reason(failed: Any, ran_out: Mapping[str, Place]) -> str:
    if place := ran_out.get(failed.trial_id):
        return f"it {what_follows(place, is_retried=False)}: {MemoryShortError.remedy}"
    from reconv.search.report import last_failure

    lines = last_failure(failed).splitlines()
    return lines[-1] if lines else "no message"
