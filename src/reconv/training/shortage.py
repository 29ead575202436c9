"""Which failures are for want of memory, and what a training asks for to be alone. The driver's; `memory` is the
worker's. Called by the search and by trainings side by side.

A worker that is out of memory raises by itself, or Ray's memory monitor kills it, or the kernel does, of which Ray
knows no more than that it died.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from reconv.errors import DeviceMemoryShortError, MemoryShortError
from reconv.training.cluster import Session, has
from reconv.training.nodes import ask_every_node, nodes_alive

Place = Literal["GPU", "machine"]
"""Whose memory was too little."""
_KILLED_BY_MONITOR = "due to the node running low on memory"
_DIED = "died unexpectedly"
_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Shortage:
    place: Place
    needs_alone: dict[str, float]
    """What the training asks of a node, by Ray's names, so that nothing else is on its GPU, or on its node."""


class Shortages:
    """Tells them from other failures, by what Ray says of a failure and what the nodes' kernels have counted."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._kills = self._count_kills()

    def told_by(self, failure: str) -> Shortage | None:
        """The one that the training ended with, of which `failure` is what Ray says; None if it was something else."""
        place = self._place_in(failure)
        return Shortage(place, self._needs_alone(place)) if place else None

    def _place_in(self, failure: str) -> Place | None:
        if DeviceMemoryShortError.__name__ in failure:
            return "GPU"
        if MemoryShortError.__name__ in failure or _KILLED_BY_MONITOR in failure:
            return "machine"
        return "machine" if _DIED in failure and self._kernel_killed() else None

    def _needs_alone(self, place: Place) -> dict[str, float]:
        needs = self._session.needs
        if place == "GPU":
            return {**needs, "GPU": 1.0}
        nodes = [node["Resources"] for node in nodes_alive() if has(node["Resources"], needs)]
        largest = max(nodes, key=lambda node: float(node.get("memory", 0.0)), default=needs)
        return {**needs, **{name: largest[name] for name in ("CPU", "memory") if name in largest}}

    def _kernel_killed(self) -> bool:
        """Whether a kernel has killed a process for want of memory that no earlier call has answered for."""
        for node, kills in self._count_kills().items():
            if kills > self._kills.setdefault(node, kills):
                self._kills[node] += 1
                return True
        return False

    def _count_kills(self) -> dict[str, int]:
        return {"here": num_kills()} if self._session.is_local else ask_every_node(num_kills)


def num_kills() -> int:
    """How many processes this machine's kernel has killed for want of memory, its own or a control group's, since it
    started; 0 if it does not say."""
    counters = Path("/proc/vmstat")
    found = _KILLS.search(counters.read_text(encoding="ascii")) if counters.exists() else None
    return int(found[1]) if found else 0


def what_follows(place: Place, is_retried: bool) -> str:
    """What a user reads after the training's name."""
    return f"ran out of the {place}'s memory" + (" and is tried again alone" if is_retried else ", tried alone as well")


def as_tune_resources(needs: dict[str, float]) -> dict[str, Any]:
    """The names that Ray Tune has for them."""
    return {{"CPU": "cpu", "GPU": "gpu"}.get(name, name): amount for name, amount in needs.items()}


def as_task_options(needs: dict[str, float]) -> dict[str, Any]:
    """The names that Ray has for them where a task is sent."""
    return {{"CPU": "num_cpus", "GPU": "num_gpus"}.get(name, name): amount for name, amount in needs.items()}
