"""What every network must do, and every shape that the values of params.yaml give the CNN."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import nn

from reconv.errors import ParamsError
from reconv.models import MODELS
from reconv.params import CnnParams, NetworkParams, Params

SHAPES = [(8, 8, 1), (28, 28, 1), (32, 32, 3), (9, 13, 3)]
NUM_CLASSES = 5
BATCH_SIZE = 4


def images(shape: tuple[int, int, int]) -> torch.Tensor:
    height, width, channels = shape
    return torch.randn((BATCH_SIZE, channels, height, width), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def build(make_params: Callable[..., Params]) -> Callable[..., nn.Module]:
    """build("cnn", shape, changes): a network with the values of the tiny params and `changes` of its section."""

    def make(model: str, shape: tuple[int, int, int], changes: dict[str, Any] | None = None) -> nn.Module:
        torch.manual_seed(0)
        section: NetworkParams = make_params().network(model)
        return MODELS[model](type(section)(**{**section.model_dump(), **(changes or {})}), shape, NUM_CLASSES)

    return make


def assert_every_parameter_gets_a_gradient(network: nn.Module, shape: tuple[int, int, int]) -> None:
    logits = network(images(shape))
    nn.functional.cross_entropy(logits, torch.arange(BATCH_SIZE)).backward()
    without = [
        name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert without == []


def test_every_model_has_its_section_in_params(params: Params) -> None:
    assert set(MODELS) == set(type(params.models).model_fields)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("model", MODELS)
class TestEveryModel:
    def test_a_row_of_logits_for_each_image(
        self, build: Callable[..., nn.Module], model: str, shape: tuple[int, int, int]
    ) -> None:
        logits = build(model, shape)(images(shape))

        assert logits.shape == (BATCH_SIZE, NUM_CLASSES)
        assert logits.isfinite().all()

    def test_gradient_reaches_every_parameter(
        self, build: Callable[..., nn.Module], model: str, shape: tuple[int, int, int]
    ) -> None:
        assert_every_parameter_gets_a_gradient(build(model, shape, {"dropout": 0.0}), shape)

    def test_evaluation_is_deterministic_and_training_is_not(
        self, build: Callable[..., nn.Module], model: str, shape: tuple[int, int, int]
    ) -> None:
        network = build(model, shape, {"dropout": 0.5})
        batch = images(shape)

        assert not torch.equal(network(batch), network(batch))
        network.eval()
        assert torch.equal(network(batch), network(batch))

    def test_an_image_is_judged_alike_in_any_company(
        self, build: Callable[..., nn.Module], model: str, shape: tuple[int, int, int]
    ) -> None:
        network = build(model, shape).eval()
        batch = images(shape)

        torch.testing.assert_close(network(batch)[:1], network(batch[:1]))

    def test_same_seed_same_weights(
        self, build: Callable[..., nn.Module], model: str, shape: tuple[int, int, int]
    ) -> None:
        first, second = build(model, shape).state_dict(), build(model, shape).state_dict()

        assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("pooling", "head", "residual"),
    list(product(["max", "average", "strided"], ["flatten", "average"], [True, False])),
)
@pytest.mark.parametrize(
    "changes",
    [
        {"convolutions": convolutions, "batch_norm": batch_norm, "kernel_size": kernel_size, "hidden": hidden}
        for (convolutions, hidden), batch_norm, kernel_size in product([(1, 0), (2, 8)], [True, False], [1, 3, 5])
    ],
    ids=lambda changes: "-".join(f"{name}={value}" for name, value in changes.items()),
)
def test_cnn_of_any_values_takes_odd_shapes_and_trains(
    build: Callable[..., nn.Module], changes: dict[str, Any], pooling: str, head: str, residual: bool
) -> None:
    shape = (9, 13, 3)
    values = {"pooling": pooling, "head": head, "residual": residual, "dropout": 0.0, **changes}
    network = build("cnn", shape, values)

    assert network(images(shape)).shape == (BATCH_SIZE, NUM_CLASSES)
    # Units may be silent for four images; what must not be is a parameter outside of the graph.
    network(images(shape)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("pooling", ["max", "average", "strided"])
def test_each_block_halves_and_rounds_up(build: Callable[..., nn.Module], pooling: str) -> None:
    changes = {"pooling": pooling, "widths": [3, 7], "hidden": 0, "head": "flatten"}

    last = list(build("cnn", (9, 13, 3), changes).children())[-1]

    assert last.in_features == 7 * 3 * 4  # 9 x 13 -> 5 x 7 -> 3 x 4


@pytest.mark.parametrize("pooling", ["max", "average", "strided"])
def test_cnn_sees_the_last_row_and_column_of_an_odd_shape(build: Callable[..., nn.Module], pooling: str) -> None:
    network = build("cnn", (9, 13, 3), {"pooling": pooling, "kernel_size": 1 if pooling != "strided" else 3}).eval()
    batch = images((9, 13, 3))
    changed = batch.clone()
    changed[:, :, -1, -1] += 10

    assert not torch.allclose(network(batch), network(changed))


def test_average_head_has_no_more_parameters_on_larger_images(build: Callable[..., nn.Module]) -> None:
    small, large = (build("cnn", shape, {"head": "average"}) for shape in ((8, 8, 1), (32, 32, 1)))

    assert sum(p.numel() for p in small.parameters()) == sum(p.numel() for p in large.parameters())


@pytest.mark.parametrize(("side", "num_blocks"), [(4, 3), (8, 4), (16, 5), (8, 9)])
def test_image_too_small_for_the_blocks_is_refused(params: Params, side: int, num_blocks: int) -> None:
    network = params.models.cnn.model_copy(update={"widths": (4,) * num_blocks})

    with pytest.raises(ParamsError, match=rf"models\.cnn\.widths has {num_blocks} blocks.*{side} x {side}"):
        MODELS["cnn"](network, (side, side, 1), NUM_CLASSES)


@pytest.mark.parametrize(("side", "num_blocks"), [(8, 3), (9, 4), (1, 1), (2, 1)])
def test_image_just_large_enough_is_taken(params: Params, side: int, num_blocks: int) -> None:
    network: CnnParams = params.models.cnn.model_copy(update={"widths": (4,) * num_blocks})

    built = MODELS["cnn"](network, (side, side, 1), NUM_CLASSES)

    assert built(images((side, side, 1))).shape == (BATCH_SIZE, NUM_CLASSES)


def test_feedforward_sees_no_neighbourhoods(build: Callable[..., nn.Module]) -> None:
    """Shuffled pixels with weights shuffled alike give the same logits."""
    network = build("feedforward", (8, 8, 1)).eval()
    batch = images((8, 8, 1))
    before = network(batch)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    first = next(layer for layer in network if isinstance(layer, nn.Linear))

    first.weight.data = first.weight.data[:, order]

    torch.testing.assert_close(network(batch.flatten(1)[:, order].view_as(batch)), before)
