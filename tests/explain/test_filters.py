import math

import pytest
import torch

from reconv.explain.filters import correlation, describe_filters, edge_responses, sobel

SOBEL = [[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]


def filters(*kernels: list[list[float]], channels: int = 1) -> torch.Tensor:
    return torch.tensor(kernels)[:, None].expand(-1, channels, -1, -1).contiguous()


def grating(angle: float, size: int = 5) -> list[list[float]]:
    places = range(-(size // 2), size // 2 + 1)
    return [
        [math.cos(2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / (1.5 * size)) for x in places]
        for y in places
    ]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("kernel", "label"),
    [
        (SOBEL, "edge"),
        ([list(row) for row in zip(*SOBEL, strict=True)], "edge"),
        ([[1.0, 1, -1], [1, 1, -1], [-1, -1, -1]], "corner"),
        ([[1.0] * 3] * 3, "colour"),
        ([[-1.0] * 3] * 3, "colour"),
        ([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]], "other"),
    ],
)
def test_a_filter_is_named_by_what_it_responds_to(kernel: list[list[float]], label: str, channels: int) -> None:
    (kind,) = describe_filters(filters(kernel, channels=channels))

    assert kind.label == label


@pytest.mark.parametrize("degrees", [0, 20, 45, 90, 130])
def test_a_grating_of_any_orientation_is_an_edge(degrees: int) -> None:
    tuned = grating(math.radians(degrees))
    centred = torch.tensor(tuned) - torch.tensor(tuned).mean()

    (kind,) = describe_filters(centred[None, None])

    assert kind.label == "edge"
    assert kind.likeness > 0.9
    assert kind.orientation_selectivity > 0.25


def test_one_colour_without_a_place_is_a_colour() -> None:
    red = torch.zeros(1, 3, 3, 3)
    red[:, 0], red[:, 1:] = 1.0, -1.0

    assert describe_filters(red)[0].label == "colour"


def test_size_and_sign_of_a_filter_do_not_matter_to_its_kind() -> None:
    kinds = describe_filters(torch.cat([filters(SOBEL), -100 * filters(SOBEL)]))

    assert [kind.label for kind in kinds] == ["edge", "edge"]
    assert kinds[0].likeness == pytest.approx(kinds[1].likeness)


def test_a_filter_of_zeros_is_nothing() -> None:
    (kind,) = describe_filters(torch.zeros(1, 1, 3, 3))

    assert (kind.label, kind.likeness, kind.orientation_selectivity) == ("other", 0, 0)


def test_sobel_is_the_gradients_length() -> None:
    ramp = torch.arange(6.0).expand(5, 6)[None, None]

    inside = sobel(ramp)[0, 1:-1, 1:-1]

    torch.testing.assert_close(inside, torch.full_like(inside, 8.0))


def test_learned_edges_that_are_sobels_agree_with_it() -> None:
    images = torch.rand(4, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    weights = filters(SOBEL, [list(row) for row in zip(*SOBEL, strict=True)])

    seen = edge_responses(weights, describe_filters(weights), images)

    assert correlation(seen, sobel(images)) > 0.9


def test_without_edge_filters_nothing_is_seen() -> None:
    weights = filters([[1.0] * 3] * 3)

    seen = edge_responses(weights, describe_filters(weights), torch.rand(2, 1, 6, 6))

    assert seen.shape == (2, 6, 6)
    assert not seen.any()
    assert correlation(seen, torch.rand(2, 6, 6)) == 0
