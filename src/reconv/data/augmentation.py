"""Random crop and flip of a whole batch at once, on whatever device the batch is on.

B batch, H height, W width, C channels.
"""

import torch
from torch import Tensor

from reconv.params import AugmentParams


def augment(
    images_BHWC: Tensor,
    params: AugmentParams,
    generator: torch.Generator,
    batch_size: int | None = None,
    part: slice = slice(None),
) -> Tensor:
    """Shift each image by up to `crop` pixels a side (zeros move in) and mirror each with probability 1/2.

    uint8 (B, H, W, C) in and out; all randomness comes from `generator`, which lives on the images' device. Images that
    are only the `part` of a batch of `batch_size` become what they would among all of it.
    """
    count, height, width, _ = images_BHWC.shape
    batch_size = batch_size or count
    device = images_BHWC.device
    if params.crop:
        pad = params.crop
        padded = torch.nn.functional.pad(images_BHWC, (0, 0, pad, pad, pad, pad))
        top, left = torch.randint(0, 2 * pad + 1, (2, batch_size), generator=generator, device=device)[:, part]
        # A view of all shifted images, of which one each is copied: no index of single pixels is made.
        shifts = padded.unfold(1, height, 1).unfold(2, width, 1)
        images_BHWC = shifts[torch.arange(count, device=device), top, left].movedim(1, -1)
    if params.flip:
        mirrored = (torch.rand(batch_size, generator=generator, device=device) < 0.5)[part]
        images_BHWC = torch.where(mirrored[:, None, None, None], images_BHWC.flip(2), images_BHWC)
    return images_BHWC
