"""What is asked of a cluster's nodes before work is sent to them: their versions, and whether they see our files."""

import platform
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from reconv.errors import UnavailableError

# Of which another version may give other numbers, or not understand what it is sent.
_PACKAGES = ("torch", "torchvision", "pytorch-lightning", "numpy", "pandas", "pyarrow", "safetensors", "pydantic")
_ANSWER_SECONDS = 120
_GLANCE_SECONDS = 10
T = TypeVar("T")


@dataclass(frozen=True)
class Node:
    name: str
    versions: dict[str, str]
    sees_files: bool
    """Those of this folder."""


def check_nodes(state: Path) -> bool:
    """Ask every node of the cluster that this process is connected to; whether all of them see the folder `state`. A
    node that is lost meanwhile is left out.

    Raises:
        UnavailableError: a node does not answer, or has other versions than this machine.
    """
    state.mkdir(parents=True, exist_ok=True)
    mark = state.resolve() / f"seen-{uuid4().hex}"
    mark.touch()
    try:
        nodes = _ask(mark)
    finally:
        mark.unlink()
    here = versions_here()
    others = {
        f"{node.name} has {name} {node.versions.get(name)}, this machine {expected}"
        for node in nodes
        for name, expected in here.items()
        if node.versions.get(name) != expected
    }
    if others:
        raise UnavailableError(
            "the Ray cluster runs other versions: " + "; ".join(sorted(others)) + ".\n"
            "Install requirements.lock there, or start its nodes from the image that has it."
        )
    return all(node.sees_files for node in nodes)


def nodes_alive() -> list[dict[str, Any]]:
    """As Ray describes them."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def versions_here() -> dict[str, str]:
    """Package -> version, without what follows a "+": builds for CPU and for CUDA are of one version."""
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for package in _PACKAGES:
        try:
            found[package] = version(package).split("+")[0]
        except PackageNotFoundError:
            found[package] = "missing"
    return found


def ask_every_node(question: Callable[[], T]) -> dict[str, T]:
    """Id of a node -> its answer; nodes that give none within seconds are left out."""
    import ray

    asked = _asked(question)
    answered, _ = ray.wait([*asked], num_returns=len(asked), timeout=_GLANCE_SECONDS)
    answers = {}
    for answer in answered:
        with suppress(ray.exceptions.RayError):
            answers[asked[answer]["NodeID"]] = ray.get(answer, timeout=_GLANCE_SECONDS)
    return answers


def _asked(question: Callable[..., Any], *arguments: Any) -> dict[Any, dict[str, Any]]:
    """An answer to come -> the node that gives it, whatever else runs there."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asking: Any = ray.remote(question)
    return {
        asking.options(
            num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(*arguments): node
        for node in nodes_alive()
    }


def _ask(mark: Path) -> list[Node]:
    import ray

    asked = _asked(_answer, mark)
    answered, missing = ray.wait([*asked], num_returns=len(asked), timeout=_ANSWER_SECONDS)
    if missing:
        names = ", ".join(sorted(asked[one]["NodeManagerAddress"] for one in missing))
        raise UnavailableError(f"nodes of the Ray cluster do not answer within {_ANSWER_SECONDS} s: {names}.")
    nodes: list[Node] = []
    for one in answered:
        try:
            nodes.append(ray.get(one, timeout=_ANSWER_SECONDS))
        except ray.exceptions.RayError as error:
            if asked[one]["NodeID"] in {node["NodeID"] for node in nodes_alive()}:
                raise UnavailableError(f"a node of the Ray cluster cannot run reconv: {_last_line(error)}") from None
    return nodes


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]


def _answer(mark: Path) -> Node:
    import ray

    return Node(ray.util.get_node_ip_address(), versions_here(), mark.exists())
