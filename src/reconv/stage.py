"""What every stage script does around its one call: parameters, console, MLflow run, one clear message at the end."""

import atexit
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TextIO

import psutil

from reconv.console import Console, log_path, quiet_libraries
from reconv.dvc.recorded import INPUTS
from reconv.dvc.stage_inputs import StageInputs
from reconv.environment import complete_environment
from reconv.errors import ReconvError
from reconv.files import AnyPath, clear_dir, refusal, write_json
from reconv.interruption import INTERRUPTED, interruptible
from reconv.masking import masked
from reconv.params import Params, check_params, read_params
from reconv.places import LOCKS, logs, project, run_file
from reconv.resuming import code_digest, resumable_dir
from reconv.running import end_with_dvc, run_alone
from reconv.tracking.opening import open_stage_run
from reconv.tracking.record import StageRun
from reconv.tracking.remedies import refused_by_store
from reconv.tracking.server import check_tracking
from reconv.training.cluster import Session
from reconv.training.head import watch_head
from reconv.training.observer import Observer, Observers
from reconv.training.session_folder import remove_session_folders
from reconv.training_logs import TrainingLogs

_REGISTER_SECONDS = 900.0  # for several experiments before this one
OpenSession = Callable[[Params], AbstractContextManager[Session | None]]


@dataclass(frozen=True)
class Stage:
    name: str
    """With its model."""
    params: Params
    console: Console
    run: StageRun
    maybe_session: Session | None
    inputs: StageInputs
    resumable_dirs: dict[AnyPath, str] = field(default_factory=dict)
    """Folder -> digest of the code that fills it."""

    @property
    def session(self) -> Session:
        """The Ray session of a stage that asked for one."""
        assert self.maybe_session is not None
        return self.maybe_session

    def resumable_dir(self, fingerprint: Any) -> AnyPath:
        """Where this stage keeps what an interruption leaves, until it has succeeded: in this folder, or where a
        cluster's nodes reach it."""
        state = resumable_dir(self.name, fingerprint, None if self.session.is_local else self.session.storage)
        self.resumable_dirs[state] = code_digest()
        return state

    def forget_mixed_state(self) -> None:
        """Clear resumable state if the code changed meanwhile: part of it may come from other code."""
        for state, code in self.resumable_dirs.items():
            if code != code_digest():
                clear_dir(state)

    @property
    def training_logs(self) -> Path:
        """A log file of each of its trials or trainings."""
        return logs() / self.name

    def observers(self, progress: Observer) -> Observer:
        """Whoever watches trainings: the status line, a log file for each, MLflow."""
        return Observers(progress, TrainingLogs(self.name, self.run.keep_log), self.run)


@contextmanager
def stage(name: str, model: str | None = None, open_session: OpenSession = lambda _: nullcontext()) -> Iterator[Stage]:
    """Run a stage's body; on a failure print its cause and remedy and leave with an exit code that is not 0.

    A Ray session is opened before MLflow is imported, so that its workers start up meanwhile.

    A ReconvError is the user's to mend and printed as it is; anything else is our mistake and comes with a traceback.
    """
    complete_environment()
    _use_the_code_of_this_copy()
    succeeded: list[ExitStack] = []  # with what the end of the process closes
    atexit.register(_skip_teardown, succeeded)  # first registered, so that it runs after the hooks of every library
    log = f"{name}-{model}" if model else name
    with _quiet(log, name, model) as terminal:
        console = Console(name, model, terminal)
        try:
            with interruptible(terminal.fileno()):
                end_with_dvc(console.say)
                values = read_params()
                params = check_params(values)
                inputs = StageInputs(f"{name}@{model}" if model else name, values)
                check_tracking(params.resources)
                left_open = ExitStack()
                # In the order in which it is closed nothing is done before what may still fail: a lost cluster ends
                # this process without a word, and the next one finds the same MLflow run and all that was kept.
                with _alone(log, console.say), ExitStack() as opened:
                    session = opened.enter_context(open_session(params))
                    if session is not None and session.head:
                        watch_head(session.head, console.say)
                    with open_stage_run(params, name, model, console.say) as run:
                        this = Stage(log, params, console, run, session, inputs)
                        try:
                            yield this
                            inputs.verify()
                        except BaseException:
                            this.forget_mixed_state()
                            raise
                        used = {"run_id": run.run_id, "experiment": run.experiment, INPUTS: inputs.as_record()}
                        write_json(run_file(name, model), used)
                        if session is not None and session.end_with_process():
                            left_open = opened.pop_all()
                        opened.close()
                    for state in this.resumable_dirs:
                        clear_dir(state)
        except ReconvError as error:
            console.say(f"stopped: {error}")
            _leave(1)
        except KeyboardInterrupt:
            console.say("interrupted. Run the same command to go on; nothing that was finished is lost.")
            _leave(INTERRUPTED)
        except Exception as error:
            if not (refused := refusal(error) or refused_by_store(error)):
                _report_our_mistake(console, log)
            console.say(f"stopped: {refused}")
            _leave(1)
    succeeded.append(left_open)


def _use_the_code_of_this_copy() -> None:
    """Start again with the code beside dvc.yaml in a temporary copy, where the installed one is the project's: DVC
    records what the experiment was queued with, and the project may have changed since."""
    source = str(Path("src").resolve())
    path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if project() != Path() and Path("src/reconv").is_dir() and source not in path:
        os.environ["PYTHONPATH"] = os.pathsep.join([source, *filter(None, path)])
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _alone(name: str, say: Callable[[str], None]) -> AbstractContextManager[None]:
    """Experiments in temporary copies run beside each other and the project, and register one after the other: the gate
    counts the comparisons on the same test images."""
    if name == "register":
        return run_alone(name, say, _REGISTER_SECONDS, project() / LOCKS)
    return run_alone(name, say)


@contextmanager
def _quiet(log: str, name: str, model: str | None) -> Iterator[TextIO]:
    """Yield the terminal while libraries print into the stage's log; leave if there can be no log."""
    with ExitStack() as opened:
        try:
            terminal = opened.enter_context(quiet_libraries(log))
        except OSError as error:
            Console(name, model, sys.stdout).say(f"stopped: {refusal(error) or error}")
            _leave(1)
        yield terminal


def _report_our_mistake(console: Console, log: str) -> None:
    with suppress(OSError):  # the log's disk may be full
        sys.stderr.write(masked(traceback.format_exc()))
    console.print(traceback.format_exc())
    console.say(f"failed by a mistake of reconv's own. The whole log is {log_path(log)}.")
    _leave(1)


def _skip_teardown(succeeded: list[ExitStack]) -> None:
    """Leave at once when all is done, and let nothing that the stage started outlive it: taking a process apart that
    imported MLflow or torch takes 0.8 s, a local Ray 1.4 s."""
    if succeeded and not hasattr(sys, "last_value"):  # set when something failed after the stage's body
        sys.stdout.flush()
        sys.stderr.flush()
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        remove_session_folders()
        os._exit(0)


def _leave(code: int) -> NoReturn:
    sys.exit(code)
