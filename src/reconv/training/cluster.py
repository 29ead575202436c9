"""The Ray session of a stage: a local one that ends with it, or a cluster that was there before."""

import atexit
import logging
import os
import secrets
import shlex
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ByteSize

from reconv.errors import ParamsError, UnavailableError
from reconv.params import ResourcesParams
from reconv.places import STATE
from reconv.training.session_folder import new_session_folder, remove_session_folders
from reconv.training.threads import wait_for_ray_threads

_CONNECT_SECONDS = 10
_END_SECONDS = 60.0  # for Ray Data to finish what it is fetching
# What trials and trainings pass through the object store is a few MB of weights: images are mapped from their files.
_LOCAL_OPTIONS: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 256 * 2**20}
# Workers import torch and Lightning (6 s) as soon as they start, while the driver imports what it needs.
_PRELOAD = {"preload_python_modules": ["reconv.training.fit"]}
# Ray Tune asks for workers with an environment of its own: any that were there before only take the cores from them.
_NO_EARLY_WORKERS = {"prestart_worker_first_driver": False}
_PARAMS_OF = {
    "CPU": "resources.cpus_per_trial",
    "GPU": "resources.gpus_per_trial",
    "memory": "resources.memory_per_trial",
}
"""What Ray calls a resource -> where a user says how much of it a training has."""
_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # Without it a task that asks for no GPU sees all of them.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}


@dataclass(frozen=True)
class Session:
    """What a training may use of the machine or cluster."""

    num_cpus: float
    num_gpus: float
    cpus_per_training: float
    gpus_per_training: float
    threads_per_training: int
    memory_bytes: float = 0.0
    """Of all nodes, as Ray counts it."""
    memory_per_training: float = 0.0
    """Bytes; 0 if resources.memory_per_trial declares none."""
    gpu_share_is_measured: bool = False
    """There are GPUs and resources.gpus_per_trial is auto: until `sharing` has measured, a training has a whole one."""
    is_local: bool = True
    head: str = ""
    """HOST:PORT of the cluster's; empty for this machine alone."""
    shares_files: bool = True
    """Every node sees this folder."""
    object_store_bytes: float = 0.0
    """Of the smallest node."""
    storage: str | None = None
    """URL of a place that every node reaches."""
    workers: tuple[int, int] = (1, 1)
    """Fewest and most that a final training is shared by."""

    def end_with_process(self) -> bool:
        """Leave a local Ray, whose work is done, to be killed when this process ends: to let it end takes 1.4 s.

        False, and nothing changed, for a cluster: that has to be told.
        """
        if self.is_local:
            import ray

            atexit.unregister(ray.shutdown)
        return self.is_local

    @property
    def room(self) -> int:
        """How many trainings can run at once."""
        slots = [self.num_cpus / self.cpus_per_training]
        if self.gpus_per_training:
            slots.append(self.num_gpus / self.gpus_per_training)
        if self.memory_per_training:
            slots.append(self.memory_bytes / self.memory_per_training)
        return max(1, int(min(slots) + 1e-6))

    @property
    def needs(self) -> dict[str, float]:
        """What a training asks of a node, by Ray's names."""
        return _needs(self.cpus_per_training, self.gpus_per_training, self.memory_per_training)


def cluster_address(resources: ResourcesParams) -> str | None:
    """Of the cluster that RAY_ADDRESS or resources.ray_address names; None for this machine alone."""
    address = os.environ.get("RAY_ADDRESS") or resources.ray_address
    return None if address == "local" else address


@contextmanager
def ray_session(resources: ResourcesParams, num_trainings: int | None = None) -> Iterator[Session]:
    """Connect to the cluster that RAY_ADDRESS or resources.ray_address names, or start Ray on this machine.

    `num_trainings` is how many there are to run; None for a search, which runs as many as there is room for.

    Raises:
        UnavailableError: nothing answers at the address.
        ParamsError: no node has what a training is to have.
    """
    address = cluster_address(resources) or "local"
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    if address == "local":
        # By itself Ray listens on every interface of the machine; taking it for a laptop, on the loopback address.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        if "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:  # Ray reads both when it is imported
            # A token of this session alone: by itself Ray leaves one in the home folder that later clusters require.
            os.environ["RAY_AUTH_MODE"] = "token"
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    else:
        check_reachable(address)
    import ray

    is_local = address == "local"
    if is_local:
        config = _PRELOAD if num_trainings else _NO_EARLY_WORKERS
        # A copy, since Ray writes this session's folder into it, and would use that for the next session as well.
        options = {**_LOCAL_OPTIONS, **_quoted_python(), "_system_config": {**config}}
        options["_temp_dir"] = str(new_session_folder())
    else:
        # The nodes need have no reconv, or another one; what it imports they have to have.
        options = {"runtime_env": {"py_modules": [str(Path(__file__).parents[1])], "env_vars": _QUIET}}
    try:
        ray.init(address, log_to_driver=False, configure_logging=False, **options)
    except Exception as error:  # a node that takes too long to start raises no narrower one
        remove_session_folders()
        raise _unusable(address, error) from None
    try:
        yield _connected_session(resources, num_trainings, is_local)
    finally:
        _end()


def _quoted_python() -> dict[str, Any]:
    """Quote the interpreter's path where it has to be: Ray puts it into a shell's command as it is, and a worker whose
    path has a blank would never start."""
    quoted = shlex.quote(sys.executable)
    return {} if quoted == sys.executable else {"runtime_env": {"py_executable": quoted}}


def _end() -> None:
    """Shut Ray down once no thread uses it any more. If one hangs, the end of the process does it, so that everything
    is written first."""
    import ray

    if left := wait_for_ray_threads(_END_SECONDS):
        logging.getLogger(__name__).warning("threads still use Ray after %.0f s: %s", _END_SECONDS, ", ".join(left))
        atexit.unregister(ray.shutdown)
    else:
        ray.shutdown()
        remove_session_folders()


def _unusable(address: str, error: Exception) -> UnavailableError:
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    if address == "local":
        return UnavailableError(
            f"Ray did not start on this machine: {reason}\n"
            "Ray gives up where other programs take all cores or memory: end some, then run the same command again."
        )
    return UnavailableError(
        f"Ray at {address} cannot be used: {reason}\n"
        "Correct RAY_ADDRESS or resources.ray_address, or unset both to run on this machine."
    )


def _connected_session(resources: ResourcesParams, num_trainings: int | None, is_local: bool) -> Session:
    """What there is in the cluster that this process is connected to, and what of it a training may have."""
    import ray

    from reconv.training.nodes import nodes_alive

    total = ray.cluster_resources()
    num_cpus, num_gpus = total.get("CPU", 0.0), total.get("GPU", 0.0)
    cpus = _cpus_per_training(resources.cpus_per_trial, num_cpus, num_trainings)
    gpus = _gpus_per_training(resources, num_gpus)
    memory = float(resources.memory_per_trial or 0)
    _check_a_node_has(_needs(cpus, gpus, memory), [node["Resources"] for node in nodes_alive()])
    return Session(
        num_cpus,
        num_gpus,
        cpus,
        gpus,
        threads_per_training=resources.cpus_per_trial,
        memory_bytes=total.get("memory", 0.0),
        memory_per_training=memory,
        gpu_share_is_measured=num_gpus > 0 and resources.gpus_per_trial == "auto",
        is_local=is_local,
        head="" if is_local else ray.get_runtime_context().gcs_address,
        shares_files=is_local or _shares_files(resources),
        object_store_bytes=min(node["Resources"].get("object_store_memory", 0.0) for node in nodes_alive()),
        storage=resources.storage,
        workers=resources.train.workers,
    )


def _shares_files(resources: ResourcesParams) -> bool:
    """Raises UnavailableError if what trainings keep would be lost on a node that does not see this folder."""
    from reconv.training.nodes import check_nodes

    shares_files = check_nodes(STATE)
    if not shares_files and resources.storage is None:
        raise UnavailableError(
            f"not every node of the Ray cluster sees {Path.cwd()}, where trainings keep their checkpoints: set "
            "resources.storage to a place that all of them reach (s3://, gs://, ... or a shared folder)."
        )
    return shares_files


def check_reachable(address: str) -> None:
    """Ray itself tries for minutes before it gives up; a closed port is known at once."""
    found_by = ""
    if address == "auto":
        address, found_by = _found_address(), ', which "auto" stands for,'
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # a form that Ray knows
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise UnavailableError(
            f"no Ray cluster answers at {address}{found_by} ({error}): start it, correct RAY_ADDRESS or "
            "resources.ray_address, or unset both to run on this machine."
        ) from None


def _found_address() -> str:
    """Return the address that "auto" stands for: of the cluster on this machine, or the last one that was started."""
    from ray._private.services import canonicalize_bootstrap_address_or_die

    try:
        return str(canonicalize_bootstrap_address_or_die("auto"))
    except ConnectionError:
        raise UnavailableError(
            'RAY_ADDRESS or resources.ray_address is "auto", and no Ray cluster, or more than one, runs on this '
            "machine: start one (`ray start --head`), name one as HOST:PORT, or unset both to run without a cluster."
        ) from None


def _cpus_per_training(cpus: int, num_cpus: float, num_trainings: int | None) -> float:
    """With three trainings on two cores all three run at once, each on 2/3 of a core: two and then one would leave a
    core idle for half of the time."""
    room = num_cpus / cpus
    if num_trainings is not None and room < num_trainings < 2 * room:
        return num_cpus / num_trainings
    return float(cpus)


def _gpus_per_training(resources: ResourcesParams, num_gpus: float) -> float:
    """What params.yaml says; `auto` is a whole one until it is measured, and none where there is none."""
    if resources.gpus_per_trial == "auto":
        return 1.0 if num_gpus else 0.0
    return resources.gpus_per_trial


def _needs(cpus: float, gpus: float, memory: float) -> dict[str, float]:
    needs = {"CPU": cpus, "GPU": gpus, "memory": memory}
    return {name: amount for name, amount in needs.items() if amount}


def _check_a_node_has(needs: Mapping[str, float], nodes: Sequence[Mapping[str, float]]) -> None:
    """Ray would wait for such a node for ever. A cluster without a core is one that grows when it is asked to."""
    if not any(node.get("CPU") for node in nodes) or any(has(node, needs) for node in nodes):
        return
    most = {name: max(node.get(name, 0.0) for node in nodes) for name in needs}
    name = next((name for name in needs if most[name] < needs[name]), None)
    if name is None:
        wanted = ", ".join(f"{_PARAMS_OF[name]} ({amount:g})" for name, amount in needs.items())
        raise ParamsError(f"no node has all of {wanted} at once: lower one of them in params.yaml, or add such a node.")
    raise ParamsError(
        f"{_PARAMS_OF[name]} is {_shown(name, needs[name])}, the most that a node has is {_shown(name, most[name])}: "
        "lower it in params.yaml, or add a larger node (pipeline/cluster/scale.py asks an autoscaler for one)."
    )


def has(node: Mapping[str, float], needs: Mapping[str, float]) -> bool:
    """Whether `needs` fit on a node with these resources when nothing else runs there."""
    return all(node.get(name, 0.0) >= amount for name, amount in needs.items())


def _shown(name: str, amount: float) -> str:
    return ByteSize(amount).human_readable(decimal=True) if name == "memory" else f"{amount:g}"
