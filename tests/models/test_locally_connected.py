import pytest
import torch
from torch import nn

from reconv.models.locally_connected import LocallyConnected2d
from reconv.models.whitening import WhitenedConv2d


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(6, 6), (7, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_starts_as_the_convolution(kernel_size: int, stride: int, size: tuple[int, int], bias: bool) -> None:
    convolution = nn.Conv2d(3, 4, kernel_size, stride=stride, padding=kernel_size // 2, bias=bias)
    untied = LocallyConnected2d(convolution, size)
    images = torch.randn(2, 3, *size)

    torch.testing.assert_close(untied(images), convolution(images))


def test_every_position_learns_for_itself() -> None:
    torch.manual_seed(0)
    untied = LocallyConnected2d(nn.Conv2d(1, 2, 3, padding=1, bias=False), (4, 4))

    untied(torch.randn(1, 1, 4, 4))[0, :, 1, 2].sum().backward()

    assert untied.weight.grad is not None
    moved = untied.weight.grad.flatten(1).any(dim=1).nonzero().flatten().tolist()
    assert moved == [1 * 4 + 2]


def test_the_convolution_itself_is_no_part_of_it() -> None:
    untied = LocallyConnected2d(nn.Conv2d(1, 2, 3, padding=1), (4, 4))

    assert {name: tuple(p.shape) for name, p in untied.named_parameters()} == {"weight": (16, 2, 9), "bias": (2,)}


def test_whitening_gives_every_position_the_whitened_filters() -> None:
    convolution = WhitenedConv2d(1, 4, 3, padding=1, bias=False)
    untied, images = LocallyConnected2d(convolution, (8, 8)), torch.randn(50, 1, 8, 8)
    before = untied.weight.detach().clone()

    untied.whiten(images)

    assert not torch.equal(untied.weight, before)
    torch.testing.assert_close(untied(images), convolution(images))


def test_a_plain_convolution_is_not_whitened() -> None:
    untied = LocallyConnected2d(nn.Conv2d(1, 4, 3, padding=1), (8, 8))
    before = untied.weight.detach().clone()

    untied.whiten(torch.randn(50, 1, 8, 8))

    assert torch.equal(untied.weight, before)
