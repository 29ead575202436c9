"""A convolution whose filters are not shared: without the idea that a pattern looks the same anywhere.

B batch, C channels, H height, W width, O output channels; D = C * kernel height * kernel width, the values of a patch;
L output positions.
"""

import torch
from torch import Tensor, nn

from reconv.models.whitening import WhitenedConv2d


class LocallyConnected2d(nn.Module):
    """The layer of `convolution` for images of `size` (height, width), with filters of its own at every position.

    Every position starts with the filters of `convolution`, so that both networks start as the same function.
    """

    def __init__(self, convolution: nn.Conv2d, size: tuple[int, int]) -> None:
        super().__init__()
        self.kernel_size, self.stride = convolution.kernel_size, convolution.stride
        self._unfold = nn.Unfold(convolution.kernel_size, padding=convolution.padding, stride=convolution.stride)  # type: ignore[arg-type]
        (stride, _), (kernel, _) = convolution.stride, convolution.kernel_size
        height, width = ((side + 2 * (kernel // 2) - kernel) // stride + 1 for side in size)
        self._out = (height, width)
        self._convolution = [convolution]  # in a list: no part of this module
        self.weight = nn.Parameter(torch.empty(height * width, *convolution.weight.flatten(1).shape))
        self.bias = nn.Parameter(convolution.bias.detach().clone()) if convolution.bias is not None else None
        self._copy_filters()

    def _copy_filters(self) -> None:
        with torch.no_grad():
            self.weight.copy_(self._convolution[0].weight.flatten(1).expand_as(self.weight))

    def whiten(self, images_BCHW: Tensor) -> None:
        """As a whitened convolution does; nothing where the convolution is a plain one."""
        if isinstance(self._convolution[0], WhitenedConv2d):
            self._convolution[0].whiten(images_BCHW)
            self._copy_filters()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        patches_LBD = self._unfold(x_BCHW).permute(2, 0, 1)
        out_LBO = torch.bmm(patches_LBD, self.weight.transpose(1, 2))
        if self.bias is not None:
            out_LBO = out_LBO + self.bias
        height, width = self._out
        return out_LBO.permute(1, 2, 0).reshape(len(x_BCHW), -1, height, width)
