"""The textbook convolutional network, built from values.

B batch, C channels, H height, W width.
"""

from torch import Tensor, nn

from reconv.errors import ParamsError
from reconv.models.locally_connected import LocallyConnected2d
from reconv.models.whitening import WhitenedConv2d
from reconv.params import CnnParams

_POOLS: dict[str, type[nn.Module]] = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


class Block(nn.Module):
    """Convolutions, each followed by normalisation and ReLU, and halving; with `residual`, the halved input is added.

    Pooling comes before the last normalisation and ReLU, which then work on a quarter of the values: 3,200 instead of
    2,100 images/s of training on a CPU core. ReLU and max pooling may change places without changing the function.
    """

    def __init__(
        self, channels_in: int, channels_out: int, params: CnnParams, is_first_block: bool, size: tuple[int, int]
    ) -> None:
        super().__init__()
        self.shortcut: nn.Module | None = None
        if params.residual:
            same = channels_in == channels_out
            self.shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1, bias=False)
        layers: list[nn.Module] = []
        for position in range(params.convolutions):
            is_last = position == params.convolutions - 1
            steps_by_2 = is_last and params.pooling == "strided"
            kind = WhitenedConv2d if is_first_block and position == 0 and params.whitened else nn.Conv2d
            convolution = kind(
                channels_in if position == 0 else channels_out,
                channels_out,
                params.kernel_size,
                stride=2 if steps_by_2 else 1,
                padding=params.kernel_size // 2,
                bias=not params.batch_norm,
            )
            layers.append(convolution if params.shared_weights else LocallyConnected2d(convolution, size))
            if not is_last:
                layers += _normalise_and_activate(channels_out, params)
        self.convolutions = nn.Sequential(*layers)
        # ceil_mode: an odd side is rounded up, as a strided convolution does, so that no pixel is left out.
        self.pool = _POOLS[params.pooling](2, ceil_mode=True) if params.pooling in _POOLS else nn.Identity()
        self.shortcut_pool = nn.AvgPool2d(2, ceil_mode=True) if params.pooling == "strided" else self.pool
        self.activate = nn.Sequential(*_normalise_and_activate(channels_out, params))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out_BCHW = self.pool(self.convolutions(x_BCHW))
        if self.shortcut is not None:
            out_BCHW = out_BCHW + self.shortcut_pool(self.shortcut(x_BCHW))
        activated: Tensor = self.activate(out_BCHW)
        return activated


def _normalise_and_activate(channels: int, params: CnnParams) -> list[nn.Module]:
    norm: list[nn.Module] = [nn.BatchNorm2d(channels)] if params.batch_norm else []
    return [*norm, nn.ReLU(inplace=True)]


def blocks_of(network: nn.Module) -> list[Block]:
    """From the first to the last; none of a network of another kind."""
    return [layer for layer in network.modules() if isinstance(layer, Block)]


def build_cnn(params: CnnParams, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Blocks of convolution, ReLU and pooling, then fully connected layers: (B, C, H, W) -> logits (B, num_classes).

    Raises:
        ParamsError: the image is too small to be halved once per block.
    """
    height, width, channels = image_shape
    if min(height, width) < 2 ** (len(params.widths) - 1) + 1 and len(params.widths) > 1:
        raise ParamsError(
            f"models.cnn.widths has {len(params.widths)} blocks, which halve images of {height} x {width} to nothing: "
            "use fewer blocks or larger images."
        )
    layers: list[nn.Module] = []
    for channels_out in params.widths:
        layers.append(Block(channels, channels_out, params, not layers, (height, width)))
        channels, height, width = channels_out, -(-height // 2), -(-width // 2)
    if params.head == "average":
        layers.append(nn.AdaptiveAvgPool2d(1))
        features = channels
    else:
        features = channels * height * width
    layers.append(nn.Flatten())
    if params.hidden:
        layers += [nn.Dropout(params.dropout), nn.Linear(features, params.hidden), nn.ReLU(inplace=True)]
        features = params.hidden
    layers += [nn.Dropout(params.dropout), nn.Linear(features, num_classes)]
    return nn.Sequential(*layers)
