import pytest
import torch

from reconv.models import MODELS
from reconv.models.size import count_multiply_adds_of, count_parameters_of, network_on
from reconv.params import Params


@pytest.mark.parametrize("model", MODELS)
def test_counts_are_those_of_the_network_itself(params: Params, model: str) -> None:
    network = network_on("cpu", params.network(model), (9, 8, 3), 5)

    counted = count_parameters_of(params.network(model), (9, 8, 3), 5)

    assert counted == sum(parameter.numel() for parameter in network.parameters())


def test_multiply_adds_by_hand(params: Params) -> None:
    network = params.models.feedforward.model_copy(update={"widths": (7,)})

    assert count_multiply_adds_of(network, (4, 4, 1), 3) == 16 * 7 + 7 * 3


def test_untied_filters_cost_memory_and_no_multiply_adds(params: Params) -> None:
    shared = params.models.cnn
    untied = shared.model_copy(update={"shared_weights": False})

    assert count_parameters_of(untied, (8, 8, 1), 3) > count_parameters_of(shared, (8, 8, 1), 3)
    assert count_multiply_adds_of(untied, (8, 8, 1), 3) == count_multiply_adds_of(shared, (8, 8, 1), 3)


def test_nothing_is_allocated(params: Params) -> None:
    wide = params.models.feedforward.model_copy(update={"widths": (100_000, 100_000)})

    assert count_parameters_of(wide, (1024, 1024, 3), 10) > 10**11
    assert not torch.cuda.is_initialized()
