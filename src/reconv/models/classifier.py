"""A network together with what turns raw images into its input, so that training, evaluation and serving cannot differ.

B batch, H height, W width, C channels, K classes.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from reconv.artifacts import Manifest
from reconv.errors import DataError
from reconv.files import read_json
from reconv.models import MODELS
from reconv.models.locally_connected import LocallyConnected2d
from reconv.models.whitening import WhitenedConv2d, num_images_to_whiten
from reconv.params import ModelsParams, NetworkParams

# Of champions that were registered before there were these values.
_OF_OLD = {"cnn": {"whitened": False, "shared_weights": True}}


class ImageClassifier(nn.Module):
    """Raw images uint8 (B, H, W, C) -> logits float32 (B, K).

    With `flips`, the logits outside of training are the mean of an image's and its mirror image's. With `pixel_order`,
    a seed, the network sees the pixels of every image in one order drawn from it.
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
        self.flips = flips
        order = None
        if pixel_order is not None:
            generator = torch.Generator().manual_seed(pixel_order)
            order = torch.randperm(image_shape[0] * image_shape[1], generator=generator)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.network = MODELS[model](network, image_shape, len(class_names))
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
        """Before training: let layers whose first weights depend on the images see some of them, evenly spaced."""
        for layer in self.network.modules():
            if isinstance(layer, WhitenedConv2d | LocallyConnected2d):
                num_images = num_images_to_whiten(*images_NHWC.shape[1:3])
                layer.whiten(self._arranged(self._scaled(images_NHWC[:: -(-len(images_NHWC) // num_images)])))

    def _scaled(self, images_BHWC: Tensor) -> Tensor:
        images_BCHW = images_BHWC.permute(0, 3, 1, 2)  # of NHWC memory: already channels_last
        return (images_BCHW.to(self.mean.dtype) - self.mean) / self.std

    def _arranged(self, scaled_BCHW: Tensor) -> Tensor:
        return scaled_BCHW if self.order is None else scaled_BCHW.flatten(2)[..., self.order].view_as(scaled_BCHW)

    def _as_input(self, scaled_BCHW: Tensor) -> Tensor:
        return self._arranged(scaled_BCHW).contiguous(memory_format=torch.channels_last)

    def _logits(self, scaled_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.network(self._as_input(scaled_BCHW))
        return logits_BK.float()


def new_classifier(
    model: str, network: NetworkParams, manifest: Manifest, flips: bool = False, pixel_order: int | None = None
) -> ImageClassifier:
    """An untrained classifier for the images that `manifest` describes; weights come from torch's global generator."""
    m = manifest
    return ImageClassifier(model, network, m.image_shape, m.class_names, m.mean, m.std, flips, pixel_order)


def weights_as_bytes(classifier: ImageClassifier) -> bytes:
    """The weights as safetensors."""
    content: bytes = save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in classifier.state_dict().items()}
    )
    return content


def load_classifier(folder: Path) -> ImageClassifier:
    """The classifier of weights.safetensors and model.json in `folder`, in evaluation mode on the CPU.

    Raises:
        DataError: a file is missing or damaged, or the weights are of another network.
    """
    return classifier_of(read_json(folder / "model.json"), folder / "weights.safetensors")


def classifier_of(arguments: dict[str, Any], weights: Path) -> ImageClassifier:
    """The classifier with these arguments and the weights of a safetensors file; otherwise as `load_classifier`."""
    try:
        section = ModelsParams.model_fields[arguments["model"]].annotation
        assert section is not None
        classifier = ImageClassifier(
            arguments["model"],
            section(**{**_OF_OLD.get(arguments["model"], {}), **arguments["network"]}),
            tuple(arguments["image_shape"]),
            tuple(arguments["class_names"]),
            tuple(arguments["mean"]),
            tuple(arguments["std"]),
            arguments.get("flips", False),
            arguments.get("pixel_order"),
        )
        classifier.load_state_dict(load_file(weights))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError, json.JSONDecodeError) as error:
        raise DataError(
            f"{weights.parent} holds no classifier that can be loaded ({error}): run `dvc repro`."
        ) from None
    return classifier.eval()
