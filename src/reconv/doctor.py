"""Checks of this machine and this folder, each with its fix. Called by `reconv doctor` and, in part, before a run."""

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psutil

from reconv.devices import Gpu, ask_torch, cpu_has_native_bf16, driver_gpus, has_gpu_file, num_cores
from reconv.environment import NO_NAME, has_user_name
from reconv.errors import GitError, ReconvError
from reconv.git import ask_git, is_in_git
from reconv.masking import masked
from reconv.params import Params, load_params

State = Literal["fine", "unchecked", "warning", "problem"]

_LOCKED = Path("requirements.lock")
_PACKAGES = ("torch", "torchvision", "pytorch-lightning", "ray", "mlflow", "dvc", "optuna")
_FEW_BYTES, _VERY_FEW_BYTES = 10 * 10**9, 10**9
_FEW_MEMORY_BYTES = 4 * 10**9
_GB = 1e9
_WITHOUT_GIT = (
    "`make repro` and `reconv run` work without, but name no commit; `dvc repro` needs "
    "`dvc config --local core.no_scm true`, and `dvc exp` needs git."
)


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
    """Yield each check as soon as it is known, the slow ones last. This process imports neither torch nor Ray."""
    yield _python()
    yield _packages()
    yield from _user()
    yield from before_a_run()
    yield _memory()
    yield _git()
    yield from _devices()


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


def _user() -> Iterator[Check]:
    """Nothing unless the system has no name for the user."""
    name = os.environ.get("USER", "")
    if not has_user_name() or name == NO_NAME:
        text = f"the user id {os.getuid()} has no name on this machine"
        yield Check("user", "warning", text, f"before `dvc` on its own: export USER={NO_NAME} (make and reconv do).")


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
        changed = len(ask_git("status", "--porcelain", "--branch").splitlines()) - 1
    except GitError as error:
        check = _problem("git", error, "warning")
        return check if is_in_git() else replace(check, remedy=f"{check.remedy} {_WITHOUT_GIT}")
    return Check("git", "fine", f"{changed} changed files" if changed else "nothing uncommitted")


def _source(params: Params) -> Check:
    from reconv.data.remote import is_url
    from reconv.data.spec import parse_source

    source = params.data.source
    try:
        files = parse_source(source)
    except ReconvError as error:
        return _problem("images", error)
    if files is None or is_url(files[1]):
        return Check("images", "unchecked", f"{source}, which `fetch` downloads")
    if not (location := Path(files[1])).exists():
        return Check("images", "problem", f"{location} does not exist", "correct data.source in params.yaml.")
    return Check("images", "fine", source)


def _tracking(params: Params) -> Check:
    from reconv.tracking.local_store import file_of
    from reconv.tracking.opening import check_experiment
    from reconv.tracking.server import check_tracking, tracking_uri

    def look() -> None:
        check_tracking(params.resources)
        check_experiment(params)

    uri = tracking_uri(params.resources)
    is_known = file_of(uri) is not None or uri.startswith(("http://", "https://"))
    return _tried("MLflow", masked(uri), look, is_known)


def _cluster(params: Params) -> Check:
    from reconv.training.cluster import check_reachable, cluster_address
    from reconv.training.session_folder import usable_places

    address = cluster_address(params.resources)
    if address is None:
        text = "starts on this machine with each stage that needs it, and ends with it"
        return _tried("Ray", text, usable_places, is_known=True)
    can_look = address == "auto" or address.rpartition(":")[2].isdigit()
    return _tried("Ray", f"the cluster at {address}", lambda: check_reachable(address), can_look)


def _tried(name: str, text: str, attempt: Callable[[], object], is_known: bool) -> Check:
    """Without `is_known` the attempt cannot look: only the library finds such a place."""
    try:
        attempt()
    except ReconvError as error:
        return _problem(name, error)
    return Check(name, "fine", text) if is_known else Check(name, "unchecked", f"{text}, which was not checked")


def _devices() -> Iterator[Check]:
    """What the driver says comes first; where there is a GPU, torch says last whether it can use it."""
    try:
        gpus: list[Gpu] | None = driver_gpus()
    except ReconvError as error:
        yield _problem("GPU", error, "warning")
        gpus = None
    if gpus:
        yield Check("GPU", "fine", _listed(gpus))
    if gpus is None or gpus or has_gpu_file():
        yield _champion()
        yield _tried_by_torch()
        return
    text = f"no GPU: {num_cores()} cores{_precision(cpu_has_native_bf16())}"
    if shutil.which("nvidia-smi"):
        yield Check("device", "warning", text, "`nvidia-smi` is installed, but no driver is loaded: see what it says.")
    else:
        yield Check("device", "fine", text)
    yield _champion()


def _tried_by_torch() -> Check:
    try:
        torch = ask_torch()
    except ReconvError as error:
        return _problem("device", error)
    if torch.gpus:
        return Check("device", "fine", f"{_listed(torch.gpus)}{_precision(torch.has_native_bf16)}")
    text = f"no GPU that torch can use: {num_cores()} cores{_precision(torch.has_native_bf16)}"
    return Check("device", "warning", text, "there is a GPU driver, but torch sees no GPU: see `nvidia-smi`.")


def _listed(gpus: Iterable[Gpu]) -> str:
    return ", ".join(f"{gpu.name} ({gpu.total_bytes / _GB:,.0f} GB)" for gpu in gpus)


def _precision(has_native_bf16: bool | None) -> str:
    """Say what `precision: auto` becomes; nothing if that is unknown."""
    return "" if has_native_bf16 is None else f"; `precision: auto` is {'bfloat16' if has_native_bf16 else 'float32'}"


def _champion() -> Check:
    from reconv.registry.glance import glance_at_champion
    from reconv.registry.lost import what_is_lost
    from reconv.registry.version import TEST_ACCURACY

    try:
        params = load_params()
        found, lost = glance_at_champion(params), what_is_lost(params.resources)
    except ReconvError as error:
        return Check("champion", "warning", str(error).splitlines()[0])
    if lost:
        return Check("champion", "warning", lost, "`reconv run` registers it again, from what is in this folder.")
    champion = found.champion
    if champion is None:
        return Check("champion", "fine", f"none of {found.name} yet")
    accuracy = champion.tags.get(TEST_ACCURACY)
    measured = f", {float(accuracy):.2%} on its test images" if accuracy else ""
    return Check("champion", "fine", f"{found.name} version {champion.number}{measured}")


def _problem(name: str, error: ReconvError, state: State = "problem") -> Check:
    first, _, rest = str(error).partition("\n")
    return Check(name, state, first, rest)
