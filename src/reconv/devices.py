"""The devices that trainings use, found without importing torch where there is no GPU. Called by doctor."""

import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from reconv.errors import UnavailableError

_CPUINFO = Path("/proc/cpuinfo")
_GPU_FILES = tuple(map(Path, ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")))
"""NVIDIA's driver, the one that Windows lends to Linux, and AMD's."""
_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
_TORCH_SECONDS = 120


@dataclass(frozen=True)
class Gpu:
    name: str
    total_bytes: int


@dataclass(frozen=True)
class Torch:
    """The devices that torch can use."""

    gpus: tuple[Gpu, ...]
    has_native_bf16: bool


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count() or 1


def driver_gpus() -> list[Gpu]:
    """Return the GPUs that NVIDIA's driver shows; none without a driver.

    Raises:
        UnavailableError: there is a driver, but it does not answer.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return []
    except pynvml.NVMLError as error:
        raise UnavailableError(f"NVIDIA's driver does not answer ({error}).\nSee `nvidia-smi`.") from None
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return [Gpu(pynvml.nvmlDeviceGetName(one), int(pynvml.nvmlDeviceGetMemoryInfo(one).total)) for one in handles]
    except pynvml.NVMLError as error:
        raise UnavailableError(f"NVIDIA's driver does not list its GPUs ({error}).\nSee `nvidia-smi`.") from None
    finally:
        pynvml.nvmlShutdown()


def has_gpu_file() -> bool:
    """Whether a driver offers a GPU, also in a container where NVIDIA's library is missing."""
    return any(path.exists() for path in _GPU_FILES)


def cpu_has_native_bf16() -> bool | None:
    """Return what `training.precision` would find on the CPU; None if only torch knows."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    if not _CPUINFO.exists():
        return None
    flags = next((line for line in _CPUINFO.read_text(encoding="utf-8").splitlines() if line.startswith("flags")), "")
    return bool(_BF16_FLAGS & set(flags.split()))


def ask_torch() -> Torch:
    """Import torch in a process of its own, which takes seconds.

    Raises:
        UnavailableError: it cannot be imported, or does not answer.
    """
    command = [sys.executable, "-m", "reconv.devices"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TORCH_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"torch did not answer within {_TORCH_SECONDS} s.\nSee `nvidia-smi`.") from None
    if done.returncode:
        reason = next(iter(done.stderr.strip().splitlines()[-1:]), f"exit code {done.returncode}")
        raise UnavailableError(f"torch cannot be used ({reason}).\nrun `make setup`.")
    answer = json.loads(done.stdout.splitlines()[-1])
    return Torch(tuple(Gpu(**one) for one in answer["gpus"]), answer["has_native_bf16"])


def _look_with_torch() -> Torch:
    import torch
    import torchvision  # noqa: F401

    from reconv.training.precision import best_device, has_native_bf16

    device = best_device()
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    gpus = tuple(Gpu(one.name, one.total_memory) for one in found) if device.type == "cuda" else ()
    return Torch(gpus, has_native_bf16(device))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_look_with_torch())) + "\n")
