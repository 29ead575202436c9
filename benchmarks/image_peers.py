"""The peers that prepare and load one's own images, each a command of `peers/` and a process of its own.

Hugging Face's datasets and litdata are installed once, beside the virtual environment, so that all peers run with its
torch, numpy and Pillow.
"""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from benchmarks.measure import OURS, Ran, Row, ratio, run_command
from benchmarks.peers.data import BUILD

TORCHVISION = "torchvision ImageFolder + DataLoader"

_PACKAGES = BUILD / "packages"
# Where the packages would otherwise leave things outside of the folder that they are given.
_CACHES = ("HF_HOME", "LITDATA_CACHE_DIR", "DATA_OPTIMIZER_CACHE_FOLDER", "DATA_OPTIMIZER_DATA_CACHE_FOLDER")
_REQUIREMENTS = Path(__file__).parent / "peers" / "requirements.txt"


@cache
def are_installed() -> bool:
    """Whether the peers' packages are there; they are installed if not, unless that fails."""
    complete = _PACKAGES / _REQUIREMENTS.name
    if complete.exists() and complete.read_bytes() == _REQUIREMENTS.read_bytes():
        return True
    shutil.rmtree(_PACKAGES, ignore_errors=True)
    install = [Path(sys.executable).with_name("uv"), "pip", "install", "--quiet", "--compile-bytecode", "--no-deps"]
    where = ["--python", sys.executable, "--target", _PACKAGES, "--requirement", _REQUIREMENTS]
    try:
        subprocess.run([*install, *where], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"  {_REQUIREMENTS.name} could not be installed ({error})", file=sys.stderr, flush=True)
        return False
    shutil.copy(_REQUIREMENTS, complete)
    return True


def run_peer(command: list[str], images: Path, work: Path, epochs: int = 0) -> Ran:
    """Prepare `images` in WORK and load them for so many epochs; `command` is a module of `peers/` and its options."""
    caches = {name: str(work / "cache") for name in _CACHES}
    path = os.pathsep.join(filter(None, [str(_PACKAGES), os.environ.get("PYTHONPATH")]))
    quiet = {"HF_HUB_OFFLINE": "1", "LITDATA_DISABLE_VERSION_CHECK": "1"}
    module, *options = command
    return run_command(
        [
            sys.executable,
            "-m",
            f"benchmarks.peers.{module}",
            images,
            work / "output",
            "--epochs",
            str(epochs),
            *options,
        ],
        env={**caches, **quiet, "PYTHONPATH": path},
    )


def against(quantity: str, name: str, values: dict[str, list[float]]) -> Row:
    """The row of a peer that `values` (images/s) may lack."""
    if name not in values:
        return Row(quantity, "images/s", name, [], note="not installed")
    better = ratio(values[OURS], values[name], lower_is_better=False)
    return Row(quantity, "images/s", name, values[name], better, bar="ahead of it")
