"""Room in a Ray cluster: who holds it, what dead controllers left of it, and how long a stage waits for it."""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from reconv.errors import ParamsError, UnavailableError
from reconv.training.session_folder import why_workers_died

LIMIT = "RECONV_WAIT_SECONDS"
# An autoscaler may take a quarter of an hour for a GPU node; this machine does not grow.
_LIMIT_SECONDS, _LOCAL_LIMIT_SECONDS = 1800.0, 300.0
_SAY_SECONDS = 60.0
_START_SECONDS = 20.0  # after which a worker that ended is not about to be started again by itself
LOOK_SECONDS = 2.0
_SHOWN = 6


def limit_seconds(is_local: bool) -> float:
    """Return how long a stage waits for room before it gives up.

    Raises:
        ParamsError: RECONV_WAIT_SECONDS is not a positive number.
    """
    text = os.environ.get(LIMIT) or str(_LOCAL_LIMIT_SECONDS if is_local else _LIMIT_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise ParamsError(f"{LIMIT} is {text}, must be a positive number of seconds.")
    return seconds


class WaitForRoom:
    """Frees what dead processes hold, says once what a stage waits for and who holds it, and stops after the limit."""

    def __init__(self, needs: str, is_local: bool, say: Callable[[str], None]) -> None:
        self._needs = needs
        self._limit = limit_seconds(is_local)
        self._say = say
        self._since: float | None = None
        self._has_said = False
        self._looked = 0.0

    def look(self, some_wait: bool, some_run: bool) -> None:
        """Call this again and again, with what is known of the stage's trainings.

        Raises:
            UnavailableError: some have waited, and none run, for longer than the limit.
        """
        now = time.monotonic()
        if some_run or not some_wait:
            self._since, self._has_said = None, False
        elif self._since is None:
            self._since = now
        if some_wait and now >= self._looked + LOOK_SECONDS:
            self._looked = now
            free_the_dead()
            if self._since is not None:
                self._judge(now - self._since)

    def _judge(self, waited: float) -> None:
        if waited >= _START_SECONDS and (reason := why_workers_died()):
            raise UnavailableError(
                f"Ray's workers on this machine end as they start: {reason}\n"
                "Correct that (`make setup` repairs the environment), then run the same command again."
            )
        if waited >= self._limit:
            raise UnavailableError(
                f"no room in the Ray cluster after {waited:.0f} s: {self._described()}.\n"
                "End what holds it or add nodes, then run the same command again to resume. "
                f"{LIMIT} sets another limit."
            )
        if waited >= min(_SAY_SECONDS, self._limit / 2) and not self._has_said:
            self._has_said = True
            self._say(f"waiting for room in the Ray cluster ({self._limit:.0f} s at most): {self._described()}")

    def _described(self) -> str:
        held = [*_holders()]
        more = f" and {len(held) - _SHOWN} more" if len(held) > _SHOWN else ""
        return f"needs {self._needs}; {_free()}; held by {', '.join(held[:_SHOWN]) or 'tasks only'}{more}"


def in_words(resources: Mapping[str, float]) -> str:
    """Return `{"CPU": 2.0}` as `2 CPU`, without Ray's internal resources."""
    shown = {name: amount for name, amount in resources.items() if amount and ":" not in name and "_group" not in name}
    return " + ".join(
        f"{amount / 1e9:.1f} GB of memory" if name == "memory" else f"{amount:g} {name}"
        for name, amount in shown.items()
    )


def free_the_dead() -> None:
    """Remove the placement groups of this job whose controller is dead. Ray itself keeps them until the job ends."""
    import ray
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    with suppress(ray.exceptions.RayError):  # the whole cluster may be gone
        job = ray.get_runtime_context().get_job_id()
        for group in _groups():
            if group.creator_job_id.hex() == job and not group.is_detached and _creator(group) == "dead":
                remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))


def _groups() -> Iterator[Any]:
    """Yield Ray's placement groups, without removed ones."""
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData

    for one in _head().get_placement_group_table():
        group = PlacementGroupTableData.FromString(one)
        if group.state != PlacementGroupTableData.REMOVED:
            yield group


def _actors() -> Iterator[Any]:
    """Yield living actors."""
    from ray.core.generated.gcs_pb2 import ActorTableData

    for one in _head().get_actor_table(None, "ALIVE"):
        yield ActorTableData.FromString(one)


def _creator(group: Any) -> str:
    """Return its class, process and machine; `dead` if it has ended."""
    import ray
    from ray.core.generated.gcs_pb2 import ActorTableData

    if not any(byte != 0xFF for byte in group.creator_actor_id):
        return f"job {group.creator_job_id.hex()}"
    found = _head().get_actor_info(ray.ActorID(group.creator_actor_id))
    actor = ActorTableData.FromString(found) if found else None
    return "dead" if actor is None or actor.state == ActorTableData.DEAD else _process(actor)


def _process(actor: Any) -> str:
    return f"{actor.name or actor.class_name} (process {actor.pid} on {actor.address.ip_address})"


def _holders() -> Iterator[str]:
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData

    for group in _groups():
        if group.state == PlacementGroupTableData.CREATED:
            bundles = [dict(bundle.unit_resources) for bundle in group.bundles]
            held = {name: sum(bundle.get(name, 0.0) for bundle in bundles) for bundle in bundles for name in bundle}
            name = group.name or group.placement_group_id.hex()[:8]
            yield f"placement group {name} of {_creator(group)}: {in_words(held)}"
    for actor in _actors():
        if not actor.placement_group_id and (needs := in_words(actor.required_resources)):
            yield f"{_process(actor)}: {needs}"


def _free() -> str:
    import ray

    free, total = ray.available_resources(), ray.cluster_resources()
    return ", ".join(
        f"{free.get(name, 0.0):g} of {total[name]:g} {name} free" for name in ("CPU", "GPU") if name in total
    )


def _head() -> Any:
    from ray._private.state import state

    return state._connect_and_get_accessor()
