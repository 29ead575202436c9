"""What trainings compute on is found without torch, and as torch finds it."""

import platform
from pathlib import Path

import pytest
import torch

from reconv import devices
from reconv.devices import ask_torch, cpu_has_native_bf16, driver_gpus
from reconv.training.precision import has_native_bf16


def test_the_cpu_computes_in_what_torch_says() -> None:
    assert cpu_has_native_bf16() in (None, has_native_bf16(torch.device("cpu")))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors have no such flags")
@pytest.mark.parametrize(("flags", "has_it"), [("fpu avx512f", False), ("amx_bf16 fpu", True), ("avx512_bf16", True)])
def test_a_processor_says_what_it_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, has_it: bool
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\n", encoding="utf-8")
    monkeypatch.setattr(devices, "_CPUINFO", cpuinfo)

    assert cpu_has_native_bf16() is has_it


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_driver_there_is_no_gpu() -> None:
    assert driver_gpus() == []
    assert ask_torch().gpus == ()
