"""One retraining: look whether anything is new, train, let the gate decide, write down what came of it.

Called by `reconv retrain`, by people and by schedules. Whatever interrupts it, the next one goes on: what is finished
stands in DVC's cache, what was begun in `.reconv`. With nothing new it is over before torch or MLflow are imported.
"""

from collections.abc import Callable

from reconv.dead_locks import check_not_busy
from reconv.errors import BusyError, ReconvError
from reconv.params import Params, load_params
from reconv.registry.lost import what_is_lost
from reconv.retraining.record import NOTHING_BUT_REGISTER, Changes, Draft, RetrainRecord, begin
from reconv.retraining.workspace import refresh, what_changed
from reconv.running import run_alone
from reconv.tracking.opening import git_commit

Say = Callable[[str], None]


def retrain(say: Say, show: Say, dry_run: bool = False, submit: bool = False) -> RetrainRecord:
    """Retrain if there is anything new; what came of it, which is kept in logs/retrain as well.

    `dry_run` does everything but register: it trains, compares and says what the gate would decide, which counts as a
    comparison on the test images. `submit` has a Ray cluster do the work, as `make submit` does; `show` gets its lines.

    Raises:
        BusyError: another retraining or `dvc` is running in this folder. Nothing is recorded.
        ReconvError: it could not go on. The record says so, and the next one goes on where it was.
    """
    with run_alone("retrain", say, wait_seconds=0):
        draft = Draft(git_commit())
        try:
            params = load_params()
            check_not_busy()  # before the images under a running stage are fetched again
            changes = what_changed(refresh(params, lambda _: None)) or _what_was_lost(params, say)
            if changes is None:
                return draft.keep("unchanged")
            draft.note(changes=changes, resumed=begin())
            from reconv.retraining.work import Work

            return draft.keep(Work(params, draft, say, show, dry_run, submit).run(changes))
        except BusyError:
            raise  # not a failure: the next retraining does the work
        except ReconvError as error:
            draft.note(reason=str(error))
            draft.keep("failed")
            raise


def _what_was_lost(params: Params, say: Say) -> Changes | None:
    """Return what there is to do although nothing changed: MLflow's registry has lost what was registered."""
    try:
        lost = what_is_lost(params.resources)
    except ReconvError as error:
        say(f"not checked whether MLflow still has what was registered: {str(error).splitlines()[0]}")
        return None
    if not lost:
        return None
    say(lost)
    return NOTHING_BUT_REGISTER
