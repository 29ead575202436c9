"""Ray Tune around fit: one model's best values, found by several searches that know nothing of each other, each within
a budget of epochs. Called by the stage `search`.

Each final training has a search of its own, so that the luck of a search is in the spread of the final trainings, and
with it in the verdict's interval (Bouthillier et al., "Accounting for Variance in Machine Learning Benchmarks", MLSys
2021).

With several trials at once, their timing decides which results ASHA has seen when it stops a trial, so that two runs
may differ. With `search.reproducible` trials run one after the other and two runs are equal.
"""

import functools
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pandas as pd

from reconv.artifacts import Best, Budget, Choice
from reconv.data.arrays import PreparedData
from reconv.errors import MemoryShortError, TrainingError, UnavailableError
from reconv.files import REFUSED_BY_DISK, AnyPath
from reconv.params import Params
from reconv.search.choice import TrialResult, choose
from reconv.search.journal import Journal
from reconv.search.space import default_point, from_tune, key, number_of
from reconv.search.trial import TrialSettings, run_trial, who_was_right
from reconv.training.cluster import Session
from reconv.training.delivery import deliver
from reconv.training.energy import metered
from reconv.training.observer import Observer
from reconv.training.room import WaitForRoom, in_words
from reconv.training.sharing import largest_of_search, with_shared_gpus
from reconv.training.shortage import Place, Shortages, as_tune_resources, what_follows

if TYPE_CHECKING:
    from reconv.search.budget import BudgetedASHA

_SEARCHER = "Optuna's TPE, ASHA"
_MAX_FAILURES_OF_A_TRIAL = 2


@dataclass(frozen=True)
class SearchOutcome:
    trials: pd.DataFrame
    """A row per trial: trial, search (the seed of the final training that it is for), status, epochs,
    validation/accuracy (the best epoch's), device_seconds, its values."""
    best: Best
    budget: Budget


def search(
    model: str, params: Params, data: PreparedData, state: AnyPath, session: Session, observer: Observer
) -> SearchOutcome:
    """Search for the values of `model` once for each of train.num_seeds, with search.budget_epochs each; what was
    interrupted in `state` goes on.

    Raises:
        TrainingError: several trials in a row failed, or Ray Tune ended before the budget was spent.
        UnavailableError: the cluster has had no room for too long.
    """
    os.environ.update(
        RAY_CHDIR_TO_TRIAL_DIR="0",
        TUNE_DISABLE_SIGINT_HANDLER="1",  # Ctrl-C is the stage's to answer
        TUNE_GLOBAL_CHECKPOINT_S="1e9",  # of a state that is not needed: the journal is
    )
    if isinstance(state, Path):
        state = state.resolve()  # workers have another working folder
    state.mkdir(parents=True, exist_ok=True)
    delivery = deliver(data, session)
    if session.gpu_share_is_measured and not params.search.reproducible:
        largest = largest_of_search(model, params, data.manifest)
        session = with_shared_gpus(session, [largest], None, delivery, observer)
    cpus = cores_of_a_trial(params, session)
    room = 1 if params.search.reproducible else session.room
    with metered(state, session.is_local) as meter:
        settings = TrialSettings(model, params, delivery, state, num_threads=int(cpus))
        resources = as_tune_resources({**session.needs, "CPU": cpus})
        for_room = WaitForRoom(
            f"{in_words({**session.needs, 'CPU': cpus})} for a trial", session.is_local, observer.note
        )
        searched = _tune(settings, observer, resources, room, Shortages(session), for_room)
    scheduler = searched.scheduler
    if scheduler.has_failed or not scheduler.history:
        raise TrainingError(
            f"{scheduler.failures_in_a_row} trials in a row failed, the last with: {searched.last_reason}"
        )
    budget_epochs = params.search.budget_epochs * params.train.num_seeds
    if scheduler.spent_epochs < budget_epochs:
        raise TrainingError(
            f"Ray Tune ended the search after {scheduler.spent_epochs} of {budget_epochs} epochs, as it "
            "does when it is sent SIGUSR1: run the same command to go on."
        )
    choices = _choices(searched, state, data.manifest.counts["validation"], params)
    table = _table(searched, session.gpus_per_training or cpus)
    return SearchOutcome(
        trials=table,
        best=Best(choices=choices),
        budget=Budget(
            searcher=_SEARCHER,
            budget_epochs=budget_epochs,
            num_searches=params.train.num_seeds,
            max_epochs=params.search.max_epochs,
            seed=params.search.seed,
            data_digest=data.manifest.digest,
            spent_epochs=scheduler.spent_epochs,
            device_seconds=float(table["device_seconds"].sum()),
            energy=meter.energy,
            num_trials=len(table),
        ),
    )


def cores_of_a_trial(params: Params, session: Session) -> float:
    # No node of a cluster has as many cores as all of them together.
    takes_all = params.search.reproducible and session.is_local
    return session.num_cpus if takes_all else session.cpus_per_training


@dataclass(frozen=True)
class _Searched:
    scheduler: "BudgetedASHA"
    """With what each trial reported."""
    values: dict[int, dict[str, Any]]
    """Trial -> its values of params.yaml."""
    last_reason: str
    """Of the last trial of this session that failed."""


def _tune(
    settings: TrialSettings,
    observer: Observer,
    resources: dict[str, float],
    room: int,
    shortages: Shortages,
    for_room: WaitForRoom,
) -> _Searched:
    from ray import tune

    from reconv.search.actors import use_workers_well
    from reconv.search.budget import BudgetedASHA
    from reconv.search.report import DeleteEnded, ReportToObserver, WatchRoom, last_failure
    from reconv.search.searcher import BudgetedOptunaSearch, optuna_search

    params, section = settings.params, settings.params.search
    space = section.space[settings.model]
    first = default_point(space, params.recipe, params.network(settings.model))
    journal = Journal(settings.state)
    scheduler = BudgetedASHA(
        section.budget_epochs,
        section.max_epochs,
        section.grace_epochs,
        section.reduction_factor,
        num_searches=params.train.num_seeds,
        has_incumbents=first is not None,
        shortage_of=lambda trial: shortages.told_by(last_failure(trial)),
        record=functools.partial(journal.append, is_lazy=True),
    )
    searches = [
        optuna_search(space, points_to_evaluate=[first] if first else None, seed=section.seed + one)
        for one in range(params.train.num_seeds)
    ]
    searcher = BudgetedOptunaSearch(scheduler, journal, searches)
    observer.resumed(
        {key(number): scheduler.history.get(number, {}) for number in searcher.suggested},
        {key(number) for number in searcher.suggested.keys() - scheduler.running},
    )
    trials: list[Any] = []
    if not searcher.is_over:
        use_workers_well()
        # Of the files of results that are not written: each trial's would be called missing in the log.
        logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
        callbacks = [ReportToObserver(observer, scheduler, section.seed), DeleteEnded(journal), WatchRoom(for_room)]
        with TemporaryDirectory(prefix="reconv-search-") as folder:
            try:
                trials = tune.run(
                    functools.partial(run_trial, settings=settings),
                    storage_path=folder,
                    search_alg=searcher,
                    scheduler=scheduler,
                    num_samples=-1,
                    # No suggestion is made before there is room for it, so that it is made knowing every result.
                    max_concurrent_trials=room,
                    resources_per_trial=resources,
                    reuse_actors=True,
                    max_failures=_MAX_FAILURES_OF_A_TRIAL,
                    raise_on_failed_trial=False,
                    callbacks=callbacks,
                    verbose=0,
                ).trials
            except tune.TuneError as error:
                raise _for_the_user(error) or error from None
            finally:
                journal.write()
    values = {number: from_tune(config) for number, config in searcher.suggested.items()}
    return _Searched(scheduler, values, _last_reason(trials, scheduler.ran_out))


def _for_the_user(error: BaseException | None) -> OSError | UnavailableError | None:
    """Return the cause if a user can fix it: Ray Tune wraps whatever a callback raises in its own error."""
    while error is not None:
        if isinstance(error, UnavailableError) or (isinstance(error, OSError) and error.errno in REFUSED_BY_DISK):
            return error
        error = error.__context__
    return None


def _table(searched: _Searched, devices: float) -> pd.DataFrame:
    from reconv.search.budget import METRIC

    rows = []
    for number, values in sorted(searched.values.items()):
        epochs = searched.scheduler.history.get(number, {})
        best = max(epochs.values(), key=lambda metrics: metrics[METRIC], default={})
        rows.append(
            {
                "trial": number,
                "search": searched.scheduler.search_of[number],
                "status": searched.scheduler.status_of(number),
                "epochs": len(epochs),
                METRIC: best.get(METRIC),
                "validation/loss": best.get("validation/loss"),
                "device_seconds": sum(metrics["speed/epoch_seconds"] for metrics in epochs.values()) * devices,
                **{name: str(v) if isinstance(v, list) else v for name, v in values.items()},
            }
        )
    return pd.DataFrame(rows)


def _choices(searched: _Searched, state: AnyPath, num_images: int, params: Params) -> tuple[Choice, ...]:
    from reconv.search.budget import METRIC

    scheduler = searched.scheduler
    trials = {
        number: TrialResult(
            number,
            len(epochs),
            max(metrics[METRIC] for metrics in epochs.values()),
            who_was_right(state, key(number), num_images),
        )
        for number, epochs in sorted(scheduler.history.items())
    }
    return tuple(
        choose(
            [trial for number, trial in trials.items() if scheduler.search_of[number] == one],
            searched.values,
            next((number for number in scheduler.incumbents if scheduler.search_of[number] == one), None),
            params.search.min_lead,
        )
        for one in range(params.train.num_seeds)
    )


def _last_reason(trials: list[Any], ran_out: Mapping[int, Place]) -> str:
    from reconv.search.report import last_failure

    failed = next((trial for trial in reversed(trials) if trial.error_file), None)
    if failed is None:
        return "no trial reported a result"
    if place := ran_out.get(number_of(failed)):
        return f"it {what_follows(place, is_retried=False)}: {MemoryShortError.remedy}"
    lines = last_failure(failed).splitlines()
    return lines[-1] if lines else "no message"
