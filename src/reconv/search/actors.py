"""Ray Tune's workers that Ray's memory monitor kills: to Ray Tune 2.60 that is a mistake of its own, and it ends the
search, as what Ray raises for them (OutOfMemoryError) is no RayActorError."""

from typing import Any

from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.execution import tune_controller


class ActorManager(RayActorManager):  # type: ignore[misc]
    """To which they are workers that died."""

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, OutOfMemoryError):
            exception = RayActorError(error_msg=str(exception))
        super()._actor_task_failed(tracked_actor_task, exception)


def survive_the_memory_monitor() -> None:
    """From now on, every search of this process."""
    tune_controller.RayActorManager = ActorManager
