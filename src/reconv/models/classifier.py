"""A network together with what turns raw images into its input, so that training, evaluation and serving cannot differ.

B batch, H height, W width, C channels, K classes.
"""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn

from reconv.artifacts import Manifest
from reconv.errors import DataError, ParamsError
from reconv.model_json import ModelJson, read_model_json
from reconv.models import MODELS
from reconv.models.locally_connected import LocallyConnected2d
from reconv.models.pretrained import load_pretrained
from reconv.models.transfer import input_shape_of, scale_of
from reconv.models.weights import read_weights
from reconv.models.whitening import WhitenedConv2d
from reconv.params import NetworkParams, TransferParams

_MAX_SHOWN = 400
"""Characters of a library's message about a file."""


class ImageClassifier(nn.Module):
    """Raw images uint8 (B, H, W, C) -> logits float32 (B, K).

    With `flips`, the logits outside of training are the mean of an image's and its mirror image's. With `pixel_order`,
    a seed, the network sees the pixels of every image in one order drawn from it. `input_shape` is (height, width,
    channels) of what it sees, where that is not the images' own; `mean` and `std`, in units of 0 to 255, have as many
    values as it has channels, and grey images are repeated to them.
    """

    mean: Tensor
    std: Tensor
    order: Tensor | None

    def __init__(
        self,
        model: str,
        network: NetworkParams,
        image_shape: tuple[int, int, int],
        class_names: tuple[str, ...],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        flips: bool,
        pixel_order: int | None = None,
        input_shape: tuple[int, int, int] | None = None,
        weights_sha256: str | None = None,
    ) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {
            "model": model,
            "network": network.model_dump(mode="json"),
            "image_shape": list(image_shape),
            "class_names": list(class_names),
            "mean": list(mean),
            "std": list(std),
            "flips": flips,
            "pixel_order": pixel_order,
        }
        if input_shape is not None:
            self.arguments |= {"input_shape": list(input_shape), "weights_sha256": weights_sha256}
        self.flips = flips
        self.input_shape = input_shape or image_shape
        self._params = network
        order = None
        if pixel_order is not None:
            generator = torch.Generator().manual_seed(pixel_order)
            order = torch.randperm(image_shape[0] * image_shape[1], generator=generator)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.network = MODELS[model](network, self.input_shape, len(class_names))
        self.network.to(memory_format=torch.channels_last)

    def forward(self, images_BHWC: Tensor) -> Tensor:
        scaled_BCHW = self._scaled(images_BHWC)
        logits_BK = self._logits(scaled_BCHW)
        if self.flips and not self.training:
            logits_BK = (logits_BK + self._logits(scaled_BCHW.flip(3))) / 2
        return logits_BK

    def inputs(self, images_BHWC: Tensor) -> Tensor:
        """(B, C, H, W): what the network sees of raw images."""
        return self._as_input(self._scaled(images_BHWC))

    def start_from(self, images_NHWC: Tensor) -> None:
        """Before training: load pretrained weights, and let layers whose first weights depend on the images see some of
        them. Raises ParamsError or DataError as `load_pretrained`."""
        if isinstance(self._params, TransferParams):
            self.arguments["weights_sha256"] = load_pretrained(self.network, self._params)
        for layer in self.network.modules():
            if isinstance(layer, WhitenedConv2d | LocallyConnected2d):
                layer.whiten(self._arranged(self._scaled(images_NHWC)))

    def _scaled(self, images_BHWC: Tensor) -> Tensor:
        images_BCHW = images_BHWC.permute(0, 3, 1, 2)  # of NHWC memory: already channels_last
        return (images_BCHW.to(self.mean.dtype) - self.mean) / self.std

    def _arranged(self, scaled_BCHW: Tensor) -> Tensor:
        return scaled_BCHW if self.order is None else scaled_BCHW.flatten(2)[..., self.order].view_as(scaled_BCHW)

    def _as_input(self, scaled_BCHW: Tensor) -> Tensor:
        seen_BCHW = self._arranged(scaled_BCHW)
        if seen_BCHW.shape[2:] != self.input_shape[:2]:
            # As torchvision's own transforms do; on values that are scaled already it comes to the same.
            seen_BCHW = nn.functional.interpolate(seen_BCHW, self.input_shape[:2], mode="bilinear", antialias=True)
        return seen_BCHW.contiguous(memory_format=torch.channels_last)

    def _logits(self, scaled_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.network(self._as_input(scaled_BCHW))
        return logits_BK.float()


def new_classifier(
    model: str, network: NetworkParams, manifest: Manifest, flips: bool = False, pixel_order: int | None = None
) -> ImageClassifier:
    """An untrained classifier for the images that `manifest` describes; weights come from torch's global generator."""
    m = manifest
    mean, std = scale_of(network, m.mean, m.std)
    seen = input_shape_of(network, m.image_shape) if isinstance(network, TransferParams) else None
    return ImageClassifier(model, network, m.image_shape, m.class_names, mean, std, flips, pixel_order, seen)


def weights_as_bytes(classifier: ImageClassifier) -> bytes:
    """The weights as safetensors."""
    content: bytes = save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in classifier.state_dict().items()}
    )
    return content


def load_classifier(folder: Path) -> ImageClassifier:
    """Load the classifier of weights.safetensors and model.json in `folder`, in evaluation mode on the CPU.

    Raises:
        DataError: a file is missing or damaged, holds a value out of its bounds, or the weights are of another network.
    """
    return _load(read_model_json(folder), folder / "weights.safetensors")


def classifier_of(arguments: dict[str, Any], weights: Path) -> ImageClassifier:
    """Load the classifier with these arguments and the weights of a safetensors file, else as `load_classifier`."""
    return _load(ModelJson.model_validate(arguments), weights)


def _load(described: ModelJson, weights: Path) -> ImageClassifier:
    network, seen = described.network_params(), described.input_shape
    try:
        with torch.device("meta"):  # shapes without memory
            expected = MODELS[described.model](network, seen or described.image_shape, len(described.class_names))
        state = OrderedDict(read_weights(weights, {f"network.{k}": v for k, v in expected.state_dict().items()}))
        classifier = ImageClassifier(
            described.model,
            network,
            described.image_shape,
            described.class_names,
            described.mean,
            described.std,
            described.flips,
            described.pixel_order,
            seen,
            described.weights_sha256,
        )
        # What safetensors does not keep: the versions of layers, by which MNASNet tells how to read them.
        state._metadata = classifier.state_dict()._metadata  # type: ignore[attr-defined]
        classifier.load_state_dict(state)
    except (OSError, TypeError, ValueError, RuntimeError, ParamsError, SafetensorError) as error:
        raise DataError(
            f"{weights.parent} holds no classifier that can be loaded ({error!s:.{_MAX_SHOWN}}): run `dvc repro`."
        ) from None
    return classifier.eval()
