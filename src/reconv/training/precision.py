"""Which arithmetic the hardware is trained in when params.yaml says `precision: auto`."""

from typing import Literal

import torch

LightningPrecision = Literal["bf16-mixed", "32-true"]


def resolve_precision(wanted: Literal["auto", "bf16", 32], device: torch.device) -> LightningPrecision:
    """bfloat16 where the device computes in it natively, else float32; `wanted` overrules."""
    if wanted == 32 or (wanted == "auto" and not has_native_bf16(device)):
        return "32-true"
    return "bf16-mixed"


def has_native_bf16(device: torch.device) -> bool:
    """CUDA from compute capability 8.0 on; CPUs with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def best_device() -> torch.device:
    """This process's GPU if it has one, else the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
