"""The optimizers of a recipe: AdamW alone, or Muon for the weight matrices and AdamW for everything else."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from reconv.params import RecipeParams

# Quintic iteration of Newton and Schulz (Jordan 2024): takes singular values in (0, 1] to about 1.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


def new_optimizers(network: nn.Module, recipe: RecipeParams) -> list[torch.optim.Optimizer]:
    """One optimizer for each part of `network`; weight decay is for matrices and filters alone.

    Those are called weight everywhere. What has several dimensions under another name is no map between layers: a
    transformer's token and positions, ConvNeXt's scales, Swin's table of relative positions.
    """
    named = list(network.named_parameters())
    matrices = [parameter for name, parameter in named if parameter.ndim > 1 and name.endswith("weight")]
    vectors = [parameter for name, parameter in named if not (parameter.ndim > 1 and name.endswith("weight"))]
    if recipe.optimizer == "adamw":
        return [_adamw(matrices, vectors, recipe)]
    # The classes' own weights are rows of one value per class, not a map between hidden layers (Jordan 2024).
    *hidden, classes = matrices
    return [Muon(hidden, recipe.lr, recipe.weight_decay), _adamw([classes], vectors, recipe)]


def _adamw(matrices: list[nn.Parameter], vectors: list[nn.Parameter], recipe: RecipeParams) -> torch.optim.AdamW:
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.lr, fused=True)


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix is replaced by the nearest orthogonal one, so that no direction of a layer is neglected.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); the scale by which a learning rate
    and weight decay of AdamW's fit is that of Liu et al., "Muon is scalable for LLM training" (2025), equation 4. A
    convolution's filters (out, in, height, width) are a matrix (out, in * height * width), those of a locally connected
    layer (positions, out, in * height * width) a stack of them. torch's own Muon takes matrices only.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step; `closure` is not called."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, parameter.grad, self.state[parameter], **_options(group))

    @staticmethod
    def _step(
        parameter: Tensor, gradient: Tensor, state: dict[str, Any], lr: float, weight_decay: float, momentum: float
    ) -> None:
        if "mean" not in state:
            state["mean"] = torch.zeros_like(gradient)
        mean: Tensor = state["mean"]
        mean.lerp_(gradient, 1 - momentum)
        direction = gradient.lerp(mean, momentum)  # Nesterov's momentum
        update = orthogonal(direction if direction.ndim == 3 else direction.flatten(1))
        parameter.mul_(1 - lr * weight_decay)
        parameter.add_(update.view_as(parameter), alpha=-lr * 0.2 * max(update.shape[-2:]) ** 0.5)


def _options(group: dict[str, Any]) -> dict[str, float]:
    return {name: group[name] for name in ("lr", "weight_decay", "momentum")}


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix of the same shape whose singular vectors are those of `matrix` and whose singular values are about 1
    (0.7 to 1.2); of a stack of matrices, each by itself. Computed in bfloat16 whatever the recipe's precision: about 1
    needs no more."""
    a, b, c = _COEFFICIENTS
    x = matrix.bfloat16()
    is_tall = x.shape[-2] > x.shape[-1]
    if is_tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = (x.mT if is_tall else x).to(matrix.dtype)
    return result
