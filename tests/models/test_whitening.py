import torch

from reconv.models.whitening import WhitenedConv2d


def images(count: int = 64) -> torch.Tensor:
    """Smooth in one direction more than in the other, so that patches have structure."""
    noise = torch.randn((count, 1, 12, 12), generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.avg_pool2d(noise, (1, 3), stride=1, padding=(0, 1))


def whitened(out_channels: int) -> WhitenedConv2d:
    torch.manual_seed(0)
    layer = WhitenedConv2d(1, out_channels, 3, bias=False)
    layer.whiten(images())
    return layer


def test_outputs_of_the_varying_directions_are_uncorrelated_and_vary_alike() -> None:
    with torch.inference_mode():
        outputs_BCHW = whitened(9)(images())
    covariance = torch.cov(outputs_BCHW.transpose(0, 1).flatten(1))

    variances = covariance.diagonal()
    assert (covariance - variances.diag()).abs().max() < 0.05 * variances.max()
    assert variances.min() > 0.5 * variances.max()


def test_both_signs_come_first_and_the_rest_stays_as_drawn() -> None:
    torch.manual_seed(0)
    drawn = torch.nn.Conv2d(1, 20, 3, bias=False).weight.detach()

    weight = whitened(20).weight.detach()

    torch.testing.assert_close(weight[9:18], -weight[:9])
    torch.testing.assert_close(weight[18:], drawn[18:])


def test_fewer_filters_than_directions_take_those_that_vary_most() -> None:
    torch.testing.assert_close(whitened(4).weight[:, 0].flatten(1).norm(dim=1).argsort(), torch.arange(4))
