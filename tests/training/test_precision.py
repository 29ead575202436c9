import pytest
import torch

from reconv.training.precision import best_device, has_native_bf16, resolve_precision

CPU = torch.device("cpu")
CUDA = torch.device("cuda", 0)


@pytest.fixture
def capabilities(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Of the CPU, for a test to set."""
    values: dict[str, bool] = {}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: values)
    return values


@pytest.mark.parametrize("feature", ["avx512_bf16", "amx_bf16"])
def test_a_cpu_with_bfloat16_instructions_uses_them(capabilities: dict[str, bool], feature: str) -> None:
    capabilities[feature] = True

    assert resolve_precision("auto", CPU) == "bf16-mixed"


def test_any_other_cpu_stays_with_float32(capabilities: dict[str, bool]) -> None:
    capabilities["avx512_f"] = True

    assert resolve_precision("auto", CPU) == "32-true"


@pytest.mark.parametrize(("capability", "is_native"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_gpu_has_it_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], is_native: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)

    assert has_native_bf16(CUDA) == is_native


@pytest.mark.parametrize("has_it", [True, False])
def test_what_is_asked_for_overrules(capabilities: dict[str, bool], has_it: bool) -> None:
    capabilities["amx_bf16"] = has_it

    assert resolve_precision(32, CPU) == "32-true"
    assert resolve_precision("bf16", CPU) == "bf16-mixed"


def test_without_a_gpu_the_cpu_is_the_best_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert best_device() == CPU
