"""Pretrained weights: found or downloaded, checked by their SHA-256, read without pickle. Called before training.

A trained classifier is loaded without them: its own weights hold all that it knows.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from reconv.errors import DataError, ParamsError
from reconv.files import sha256_of_file
from reconv.models.transfer import classes_layer, default_weights
from reconv.params import TransferParams

# torch hub's convention: a file's name ends in the first digits of its SHA-256, eight in most.
_DIGITS_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.pth$")
# Names of DenseNet's layers in files that were written before torch 0.4.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
_OTHER_WEIGHTS = "or set models.cnn.weights to none or to the path of a file in params.yaml."


@dataclass(frozen=True)
class WeightsFile:
    path: Path
    sha256: str


def load_pretrained(network: nn.Module, params: TransferParams) -> str | None:
    """Give `network`, as `build_transfer` made it, the pretrained weights of all layers but the classes'.

    Returns the SHA-256 of the file; None, and nothing changed, with `weights: none`.

    Raises:
        ParamsError: there is no such file.
        DataError: the file is altered, holds no weights or those of another network, or cannot be downloaded.
    """
    if not params.is_pretrained:
        return None
    file = find_weights(params)
    state = _read(file.path)
    replaced = classes_layer(network)[0].rpartition(".")[0]
    for name in [name for name in state if name.startswith(f"{replaced}.")]:
        del state[name]  # in place: torch keeps the version of each layer's format as an attribute of it
    try:
        missing, unknown = network.load_state_dict(state, strict=False)
    except (RuntimeError, ValueError) as error:  # shapes or formats that do not fit
        raise _of_another(file, params, str(error).splitlines()[-1].strip()) from None
    missing = [name for name in missing if not name.startswith(f"{replaced}.")]
    if missing or unknown:
        listed = ", ".join([f"no {name}" for name in missing[:2]] + [f"unknown {name}" for name in unknown[:2]])
        raise _of_another(file, params, f"{len(missing)} layers missing, {len(unknown)} unknown: {listed}")
    return file.sha256


def find_weights(params: TransferParams) -> WeightsFile:
    """The file that `weights` means; torchvision's default is downloaded unless it lies in torch hub's folder.

    Raises:
        ParamsError: there is no such file.
        DataError: it is not what its name says, or cannot be downloaded.
    """
    if params.weights == "default":
        return _default_file(params)
    path = Path(params.weights).expanduser()
    if not path.is_file():
        raise ParamsError(f"models.cnn.weights is {params.weights}, where there is no file: correct it in params.yaml.")
    return WeightsFile(path, sha256_of_file(path))


def _default_file(params: TransferParams) -> WeightsFile:
    url: str = default_weights(params).url
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    digits = _DIGITS_IN_NAME.search(path.name)
    assert digits, f"torchvision names {url} without its SHA-256"
    if not path.exists():
        _download(url, path, digits[1], params)
    sha256 = sha256_of_file(path)
    if not sha256.startswith(digits[1]):
        raise DataError(
            f"{path} is not the file that torchvision published (SHA-256 {sha256[:12]}… instead of {digits[1]}…): "
            f"delete it and run again to download it anew, {_OTHER_WEIGHTS}"
        )
    return WeightsFile(path, sha256)


def _download(url: str, path: Path, digits: str, params: TransferParams) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digits, progress=False)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"the weights of {params.model} cannot be downloaded ({error}).\nCopy {url} to {path}, {_OTHER_WEIGHTS}"
        ) from None


def _read(path: Path) -> dict[str, Tensor]:
    """Name -> tensor, on the CPU. Of torch's own format only what needs no code is read."""
    try:
        state: Any = load_file(path) if path.suffix == ".safetensors" else _load_torch(path)
    except (OSError, EOFError, KeyError, RuntimeError, ValueError, UnpicklingError, SafetensorError) as error:
        reason = next(iter(str(error).splitlines()), "it is empty")
        raise DataError(f"{path} holds no weights that can be read safely ({reason}), {_OTHER_WEIGHTS}") from None
    if not (isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())):
        raise DataError(
            f"{path} must hold tensors by name, as torch.save(network.state_dict(), PATH) writes them: do so, "
            f"{_OTHER_WEIGHTS}"
        )
    for name in [name for name in state if _OLD_DENSENET.search(name)]:
        state[_OLD_DENSENET.sub(r"\1\2", name)] = state.pop(name)
    return state


def _load_torch(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _of_another(file: WeightsFile, params: TransferParams, reason: str) -> DataError:
    return DataError(
        f"{file.path} holds no weights of {params.model} ({reason}): correct models.cnn.model or models.cnn.weights in "
        "params.yaml."
    )
