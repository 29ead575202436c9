"""What this machine and this folder are, what will be used, what is wrong and how to mend it. Called by `reconv doctor`
and, in part, before each run.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from reconv.errors import ReconvError
from reconv.masking import masked
from reconv.params import Params, load_params

State = Literal["fine", "warning", "problem"]

_LOCKED = Path("requirements.lock")
_PACKAGES = ("torch", "torchvision", "pytorch-lightning", "ray", "mlflow", "dvc", "optuna")
_FEW_BYTES, _VERY_FEW_BYTES = 10 * 10**9, 10**9
_FEW_MEMORY_BYTES = 4 * 10**9
_GB = 1e9


@dataclass(frozen=True)
class Check:
    name: str
    state: State
    text: str
    """What there is."""
    remedy: str = ""

    def __post_init__(self) -> None:
        for name in ("text", "remedy"):
            object.__setattr__(self, name, masked(getattr(self, name)))


def examine() -> Iterator[Check]:
    """All of it, as it is found: what takes seconds comes last."""
    yield _python()
    yield _packages()
    yield from before_a_run()
    yield _memory()
    yield _git()
    yield from _what_will_be_used()
    yield _champion()


def before_a_run() -> Iterator[Check]:
    """What would stop a run halfway; takes no more than a second."""
    params, check = _params()
    yield check
    yield _dvc()
    yield _disk()
    if params is not None:
        yield _source(params)
        yield _tracking(params)
        yield _cluster(params)


def _python() -> Check:
    text = f"{platform.python_version()} ({sys.executable})"
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        return Check(
            "Python",
            "warning",
            f"{text}, without bytecode",
            "unset PYTHONDONTWRITEBYTECODE: every process compiles all libraries anew, which takes 20 s each time.",
        )
    return Check("Python", "fine", text)


def _packages() -> Check:
    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    text = ", ".join(f"{name} {version}" for name, version in found.items())
    if "missing" in found.values():
        return Check("packages", "problem", text, "run `make setup`.")
    others = [name for name, locked in _locked().items() if found.get(name, locked) != locked]
    if others:
        wanted = ", ".join(f"{name} {_locked()[name]}" for name in others)
        return Check("packages", "warning", text, f"requirements.lock, which was tested, has {wanted}: `make setup`.")
    return Check("packages", "fine", text)


def _locked() -> dict[str, str]:
    """Name -> version of those that the lock file has in one version."""
    if not _LOCKED.exists():
        return {}
    lines = re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)", _LOCKED.read_text(encoding="utf-8"), re.MULTILINE)
    names = [name for name, _ in lines]
    return {name: version for name, version in lines if names.count(name) == 1}


def _params() -> tuple[Params | None, Check]:
    try:
        params = load_params()
    except ReconvError as error:
        what, _, remedy = str(error).rpartition("\n")
        return None, Check("params.yaml", "problem", what or remedy, remedy if what else "")
    return params, Check("params.yaml", "fine", f"valid, data.source {params.data.source}")


def _dvc() -> Check:
    if not Path(".dvc").is_dir():
        return Check("DVC", "problem", f"{Path.cwd()} is no DVC project", "run in the clone's folder, or `dvc init`.")
    pipeline = Path("dvc.yaml")
    if not pipeline.exists():
        return Check("DVC", "problem", "dvc.yaml is missing", "git checkout dvc.yaml")
    return Check("DVC", "fine", f"a project in {Path.cwd()}")


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free
    text = f"{free / _GB:,.0f} GB free in {Path.cwd()}"
    if free < _VERY_FEW_BYTES:
        return Check("disk", "problem", text, "free some: a run needs about 1 GB besides the images.")
    if free < _FEW_BYTES:
        return Check("disk", "warning", text, "free some: prepared images and checkpoints need room.")
    return Check("disk", "fine", text)


def _memory() -> Check:
    memory = psutil.virtual_memory()
    text = f"{memory.available / _GB:,.0f} of {memory.total / _GB:,.0f} GB free"
    if memory.available < _FEW_MEMORY_BYTES:
        return Check("memory", "warning", text, "a run takes 4 to 6 GB: end what else takes memory.")
    return Check("memory", "fine", text)


def _git() -> Check:
    try:
        done = subprocess.run(
            ["git", "status", "--porcelain", "--branch"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("git", "warning", f"not usable ({error})", "install git: runs then name their commit.")
    if done.returncode:
        return Check(
            "git",
            "warning",
            "this folder is no working copy",
            "`git init`: runs name their commit, `dvc exp` needs it.",
        )
    changed = len(done.stdout.splitlines()) - 1
    return Check("git", "fine", f"{changed} changed files" if changed else "nothing uncommitted")


def _source(params: Params) -> Check:
    from reconv.data.remote import is_url

    source = params.data.source
    kind, _, location = source.partition(":")
    if kind in ("folder", "table", "archive") and not is_url(location) and not Path(location).expanduser().exists():
        return Check("images", "problem", f"{location} does not exist", "correct data.source in params.yaml.")
    return Check("images", "fine", source)


def _tracking(params: Params) -> Check:
    from reconv.tracking.server import check_tracking, tracking_uri

    return _tried("MLflow", masked(tracking_uri(params.resources)), lambda: check_tracking(params.resources))


def _cluster(params: Params) -> Check:
    from reconv.training.cluster import check_reachable, cluster_address

    address = cluster_address(params.resources)
    if address is None:
        return Check("Ray", "fine", "starts on this machine with each stage that needs it, and ends with it")
    return _tried("Ray", f"the cluster at {address}", lambda: check_reachable(address))


def _tried(name: str, text: str, attempt: Callable[[], object]) -> Check:
    try:
        attempt()
    except ReconvError as error:
        first, _, rest = str(error).partition("\n")
        return Check(name, "problem", first, rest)
    return Check(name, "fine", text)


def _what_will_be_used() -> Iterator[Check]:
    try:
        import torch
        import torchvision  # noqa: F401

        from reconv.training.precision import best_device, has_native_bf16
    except Exception as error:  # whatever a broken installation raises
        yield Check("torch", "problem", f"cannot be imported ({error})", "run `make setup`.")
        return
    device = best_device()
    precision = "bfloat16" if has_native_bf16(device) else "float32"
    cores = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count() or 1
    if device.type == "cuda":
        names = ", ".join(
            f"{torch.cuda.get_device_name(index)} ({torch.cuda.mem_get_info(index)[1] / _GB:,.0f} GB)"
            for index in range(torch.cuda.device_count())
        )
        yield Check("device", "fine", f"{names}; trainings in {precision}")
        return
    text = f"no GPU: {cores} cores, trainings in {precision}"
    if shutil.which("nvidia-smi"):
        yield Check("device", "warning", text, "there is an NVIDIA driver, but torch sees no GPU: see `nvidia-smi`.")
        return
    yield Check("device", "fine", text)


def _champion() -> Check:
    try:
        from reconv.registry.opening import open_registry
        from reconv.tracking.opening import model_name
        from reconv.tracking.server import is_there

        params = load_params()
        if not is_there(params.resources):  # to look would make it
            return Check("champion", "fine", f"none of {model_name(params)} yet")
        registry = open_registry(params)
        champion = registry.champion()
    except ReconvError as error:
        return Check("champion", "warning", str(error).splitlines()[0])
    if champion is None:
        return Check("champion", "fine", f"none of {registry.name} yet")
    accuracy = champion.tags.get("test_accuracy", "")
    measured = f", {float(accuracy):.2%} on its test images" if accuracy else ""
    return Check("champion", "fine", f"{registry.name} version {champion.number}{measured}")
