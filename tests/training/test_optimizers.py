import pytest
import torch
from torch import nn

from reconv.models.size import network_on
from reconv.params import Params, RecipeParams, TransferParams
from reconv.training.optimizers import Muon, new_optimizers, orthogonal


@pytest.fixture
def recipe(params: Params) -> RecipeParams:
    return params.recipe


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (32, 32), (64, 288)], ids=str)
def test_singular_values_become_about_one_and_singular_vectors_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)

    result = orthogonal(matrix)

    assert result.shape == matrix.shape and result.dtype == matrix.dtype
    aligned = left.T @ result @ right.T
    values = aligned.diagonal()
    assert values.min() > 0.6 and values.max() < 1.3
    torch.testing.assert_close(aligned - values.diag(), torch.zeros_like(aligned), atol=0.08, rtol=0)


def test_a_zero_gradient_moves_nothing_but_by_weight_decay() -> None:
    filters = nn.Parameter(torch.ones(2, 3, 3, 3))
    filters.grad = torch.zeros_like(filters)

    Muon([filters], lr=0.1, weight_decay=0.5).step()

    torch.testing.assert_close(filters.detach(), torch.full((2, 3, 3, 3), 1 - 0.1 * 0.5))


def test_the_size_of_the_gradient_does_not_matter() -> None:
    gradient = torch.randn(3, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    moved = []
    for size in (1e-3, 1.0, 1e3):
        filters = nn.Parameter(torch.zeros(3, 2, 2, 2))
        filters.grad = gradient * size
        Muon([filters], lr=0.1, weight_decay=0.0).step()
        moved.append(filters.detach())

    torch.testing.assert_close(moved[0], moved[1], atol=1e-3, rtol=0.05)
    torch.testing.assert_close(moved[1], moved[2], atol=1e-3, rtol=0.05)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_every_parameter_has_one_optimizer_and_vectors_do_not_decay(recipe: RecipeParams, optimizer: str) -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 8), nn.Linear(8, 3))

    groups = [
        group
        for made in new_optimizers(network, recipe.model_copy(update={"optimizer": optimizer}))
        for group in made.param_groups
    ]

    covered = [parameter for group in groups for parameter in group["params"]]
    assert len(covered) == len(set(covered)) == len(list(network.parameters()))
    assert all((group["weight_decay"] > 0) == (parameter.ndim > 1) for group in groups for parameter in group["params"])


def test_muon_leaves_the_classes_weights_to_adamw(recipe: RecipeParams) -> None:
    network = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3))

    muon, adamw = new_optimizers(network, recipe.model_copy(update={"optimizer": "muon"}))

    assert isinstance(muon, Muon) and isinstance(adamw, torch.optim.AdamW)
    assert [parameter.shape for group in muon.param_groups for parameter in group["params"]] == [(8, 4)]


def test_a_stack_of_matrices_is_made_orthogonal_one_by_one() -> None:
    stack = torch.randn(3, 4, 7, generator=torch.Generator().manual_seed(0))

    together = orthogonal(stack)

    for one, alone in zip(together, stack, strict=True):
        torch.testing.assert_close(one, orthogonal(alone), atol=0.02, rtol=0)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "convnext_tiny", "vit_b_32", "swin_t"])
def test_of_torchvisions_networks_too_the_classes_tokens_and_scales_are_adamws(recipe: RecipeParams, name: str) -> None:
    transfer = TransferParams(model=f"torchvision:{name}", weights="none", frozen=0.0, dropout=0.0)
    network = network_on("meta", transfer, (224, 224, 3), 3)
    name_of = {parameter: name for name, parameter in network.named_parameters()}

    muon, adamw = new_optimizers(network, recipe.model_copy(update={"optimizer": "muon"}))

    by_muon = {name_of[parameter] for group in muon.param_groups for parameter in group["params"]}
    decayed, undecayed = ([name_of[one] for one in group["params"]] for group in adamw.param_groups)
    assert all(name.endswith("weight") for name in by_muon)
    assert len(decayed) == 1 and len(network.get_parameter(decayed[0])) == 3
    assert not {name for name in by_muon if "token" in name or "embedding" in name or "scale" in name}
    assert {*by_muon, *decayed, *undecayed} == set(name_of.values())
    assert {"class_token", "encoder.pos_embedding"} <= {*undecayed} or name != "vit_b_32"
