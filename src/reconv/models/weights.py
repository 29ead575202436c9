"""A safetensors file -> finite tensors with the names, shapes and types of a network."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from reconv.files import open_regular

_MAX_HEADER_BYTES = 4 * 2**20
"""The bound for names, shapes and offsets of the tensors; the largest networks have some 100 kB."""


def read_weights(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return name -> tensor on the CPU. `expected` may be on the device `meta`. Tensors are read only if their names
    and shapes fit, so that the network's size bounds the memory.

    Raises:
        ValueError: a tensor is missing, unknown, of another shape or type, or not finite.
        OSError, SafetensorError: the file is damaged or not a regular file.
    """
    _check_header_size(path)
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        missing, unknown = sorted(expected.keys() - names), sorted(names - expected.keys())
        if missing or unknown:
            listed = ", ".join([f"no {name}" for name in missing[:2]] + [f"unknown {name:.80}" for name in unknown[:2]])
            raise ValueError(
                f"{path.name} is of another network: {len(missing)} tensors missing, {len(unknown)} unknown: {listed}"
            )
        for name, wanted in expected.items():
            shape = tuple(file.get_slice(name).get_shape())
            if shape != tuple(wanted.shape):
                raise ValueError(f"{path.name}: {name} is {shape}, must be {tuple(wanted.shape)}")
        return {name: _checked(file.get_tensor(name), name, wanted, path) for name, wanted in expected.items()}


def _check_header_size(path: Path) -> None:
    with open_regular(path) as file:
        size = int.from_bytes(file.read(8), "little")
    if size > _MAX_HEADER_BYTES:
        raise ValueError(f"{path.name} has a header of {size:,} bytes, must have at most {_MAX_HEADER_BYTES:,}")


def _checked(tensor: Tensor, name: str, wanted: Tensor, path: Path) -> Tensor:
    if tensor.dtype != wanted.dtype:
        raise ValueError(f"{path.name}: {name} holds {tensor.dtype}, must hold {wanted.dtype}")
    # The sum of trained weights is finite, and takes a tenth of the time and no memory.
    if tensor.is_floating_point() and not (tensor.sum().isfinite() or torch.isfinite(tensor).all()):
        raise ValueError(f"{path.name}: {name} holds NaN or infinity, must hold finite numbers")
    if name.endswith(".running_var") and (tensor < 0).any():
        raise ValueError(f"{path.name}: {name} holds a negative variance, must be at least 0")
    return tensor
