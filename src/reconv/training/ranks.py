"""What several processes of one training exchange, over torch's process group. Called by `fit`.

R ranks, B a rank's part of the batch, C channels.
"""

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from reconv.data.ranks import Rank


def averaging_gradients(classifier: nn.Module, rank: Rank) -> nn.Module:
    """`classifier` with weights of the first rank and gradients that are the mean over ranks; itself if there is one.

    For as long as the same parameters learn: those that are frozen now are left out. Its running statistics agree by
    themselves, see `normalise_over_ranks`.
    """
    return classifier if rank.of == 1 else DistributedDataParallel(classifier, forward_sync_buffers=False)


def normalise_over_ranks(network: nn.Module, device: torch.device) -> None:
    """Let batch normalisation see the whole batch, whoever has its parts."""
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]  # refuses a CPU
        return
    for layer in network.modules():
        if isinstance(layer, _BatchNorm):
            layer.forward = _normalised.__get__(layer)  # type: ignore[method-assign]


def sum_over_ranks(values: Tensor) -> Tensor:
    """In place; of tensors on the training's device."""
    distributed.all_reduce(values)
    return values


def _normalised(layer: Any, x: Tensor) -> Tensor:
    """What `layer` would do with all parts of the batch; its running statistics are those of the whole batch."""
    y: Tensor
    if not layer.training:
        y = type(layer).forward(layer, x)
        return y
    y, mean_C, variance_C, count = _Normalise.apply(x, layer.weight, layer.bias, layer.eps)
    with torch.no_grad():
        layer.running_mean.lerp_(mean_C, layer.momentum)
        layer.running_var.lerp_(variance_C * count / (count - 1), layer.momentum)
        layer.num_batches_tracked += 1
    return y


class _Normalise(torch.autograd.Function):
    """x (B, C, ...) to mean 0 and variance 1 over all ranks, then times weight plus bias: Ioffe and Szegedy, "Batch
    normalization" (2015), algorithm 1; the gradients are those of its section 3. torch's own kernels do the passes over
    x, with the statistics given to them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_C: Tensor, bias_C: Tensor, eps: float) -> tuple[Tensor, ...]:
        running_C = torch.zeros_like(weight_C)  # in float32 so that bfloat16's statistics are as well; not used
        own_mean_C, own_variance_C = torch.batch_norm_update_stats(x, running_C, running_C, 0.0)
        own_count = own_mean_C.new_tensor([x.numel() // x.shape[1]])
        sums = sum_over_ranks(torch.cat([own_mean_C * own_count, own_count]))
        ctx.count = sums[-1]
        mean_C = sums[:-1] / ctx.count
        deviations_C = own_variance_C + (own_mean_C - mean_C) ** 2
        variance_C = sum_over_ranks(deviations_C * own_count) / ctx.count
        ctx.save_for_backward(x, weight_C, mean_C, variance_C)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean_C, variance_C, ctx.count)
        y = nn.functional.batch_norm(x, mean_C, variance_C, weight_C, bias_C, eps=eps)
        return y, mean_C, variance_C, ctx.count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_C, mean_C, variance_C = ctx.saved_tensors
        # As if mean and variance did not depend on x; what they add to dx needs sums over all ranks.
        dx, dweight_C, dbias_C = torch.ops.aten.native_batch_norm_backward(
            dy, x, weight_C, mean_C, variance_C, None, None, False, ctx.eps, [True, True, True]
        )
        of_weight_C, of_bias_C = sum_over_ranks(torch.stack([dweight_C, dbias_C])) / ctx.count
        inverse_C = (variance_C + ctx.eps).rsqrt()
        slope_C = -weight_C * inverse_C**2 * of_weight_C
        offset_C = -weight_C * inverse_C * of_bias_C - slope_C * mean_C
        shape = (-1, *(1 for _ in x.shape[2:]))
        dx += torch.addcmul(offset_C.view(shape), x, slope_C.view(shape)).to(dx.dtype)
        return dx, dweight_C, dbias_C, None
