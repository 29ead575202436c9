"""What Ray Tune 2.60 does with its trials' workers, where it is wrong or wasteful."""

import time
from typing import Any

from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune import tune as tune_run
from ray.tune.execution import tune_controller

_FOR_A_NEW_TRIAL_SECONDS = 1.0  # in which the searcher suggests one, if there is room


class ActorManager(RayActorManager):  # type: ignore[misc]
    """To which workers that Ray's memory monitor kills are workers that died.

    To Ray Tune they are a mistake of its own, and it ends the search: what Ray raises for them is no RayActorError.
    """

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, OutOfMemoryError):
            exception = RayActorError(error_msg=str(exception))
        super()._actor_task_failed(tracked_actor_task, exception)


class Controller(tune_controller.TuneController):  # type: ignore[misc]
    """Which gives a worker that is free to a new trial first, and not to one whose own worker is about to start.

    That one would be ended unused, and the new trial would have another one started: while trials are shorter than a
    worker's start, so it goes on, and a thousand of them start a thousand workers.
    """

    _free_since = 0.0

    def _maybe_cache_trial_actor(self, trial: Any) -> bool:
        self._free_since = time.monotonic()
        return bool(super()._maybe_cache_trial_actor(trial))

    def _maybe_reuse_cached_actor(self, trial: Any) -> bool:
        is_new = trial not in self._trial_to_actor
        if not is_new and time.monotonic() < self._free_since + _FOR_A_NEW_TRIAL_SECONDS:
            return False
        return bool(super()._maybe_reuse_cached_actor(trial))


def use_workers_well() -> None:
    """From now on, in every search of this process."""
    tune_controller.RayActorManager = ActorManager
    tune_run.TuneController = Controller
