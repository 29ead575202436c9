from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from reconv.artifacts import Manifest
from reconv.explain.gradcam import grad_cam, last_map
from reconv.models.classifier import ImageClassifier, new_classifier
from reconv.models.cnn import Block
from reconv.params import Params, TransferParams

# Ends in the mean of each channel and one linear layer: there Grad-CAM is the sum of the channels weighted with that
# layer's weights (Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016).
AVERAGED = {"head": "average", "hidden": 0, "dropout": 0.0, "batch_norm": False, "whitened": False, "widths": (4, 6)}


def classifier_for(params: Params, manifest: Manifest, flips: bool, **changes: Any) -> ImageClassifier:
    torch.manual_seed(1)
    network = params.network("cnn").model_copy(update={**AVERAGED, **changes})
    return new_classifier("cnn", network, manifest, flips=flips).eval()


@pytest.fixture
def images(manifest: Manifest) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, *manifest.image_shape), dtype=np.uint8))


def test_it_is_the_weighted_sum_of_the_channels(params: Params, manifest: Manifest, images: torch.Tensor) -> None:
    classifier = classifier_for(params, manifest, flips=False)
    answers = torch.tensor([0, 2, 1])
    out = classifier.inputs(images)
    for layer in classifier.network:
        if isinstance(layer, Block):
            out = layer(out)
    (linear,) = (layer for layer in classifier.modules() if isinstance(layer, nn.Linear))
    expected = torch.einsum("nkhw,nk->nhw", out, linear.weight[answers]).relu()[:, None]
    expected = nn.functional.interpolate(expected, images.shape[1:3], mode="bilinear")[:, 0].detach()

    found = grad_cam(classifier, images, answers)

    highest = expected.amax(dim=(1, 2), keepdim=True)
    assert highest.max() > 0
    torch.testing.assert_close(found, torch.where(highest > 0, expected / highest.clamp(min=1e-12), 0.0))


def test_where_mirrored_images_count_the_picture_of_a_mirrored_image_is_mirrored(
    params: Params, manifest: Manifest, images: torch.Tensor
) -> None:
    classifier = classifier_for(params, manifest, flips=True)
    answers = torch.tensor([0, 1, 2])

    torch.testing.assert_close(
        grad_cam(classifier, images.flip(2), answers), grad_cam(classifier, images, answers).flip(2)
    )


@pytest.mark.parametrize("changes", [{"head": "flatten", "hidden": 8}, {"batch_norm": True}, {"shared_weights": False}])
def test_every_cnn_has_one(
    params: Params, manifest: Manifest, images: torch.Tensor, changes: dict[str, object]
) -> None:
    found = grad_cam(classifier_for(params, manifest, flips=True, **changes), images, torch.tensor([0, 1, 2]))

    assert found.shape == images.shape[:3]
    assert 0 <= found.min() <= found.max() <= 1
    assert found.isfinite().all()


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
def test_a_network_of_torchvisions_has_one_of_its_last_convolution(
    manifest: Manifest, images: torch.Tensor, name: str
) -> None:
    torch.manual_seed(0)
    values = TransferParams(model=f"torchvision:{name}", weights="default", frozen=0.0, dropout=0.0)
    classifier = new_classifier("cnn", values, manifest, flips=True).eval()
    layer = last_map(classifier.network)
    assert isinstance(layer, nn.Conv2d)
    assert layer.out_channels == {"resnet18": 512, "squeezenet1_1": 256}[name]

    found = grad_cam(classifier, images, torch.tensor([0, 1, 2]))

    assert found.shape == images.shape[:3]
    assert 0 <= found.min() <= found.max() == 1


def test_where_nothing_speaks_for_the_answer_it_is_empty(
    params: Params, manifest: Manifest, images: torch.Tensor
) -> None:
    classifier = classifier_for(params, manifest, flips=False)
    (linear,) = (layer for layer in classifier.modules() if isinstance(layer, nn.Linear))
    nn.init.constant_(linear.weight, -1.0)

    assert not grad_cam(classifier, images, torch.tensor([0, 1, 2])).any()


def test_a_network_without_blocks_and_no_images_have_none(
    params: Params, manifest: Manifest, images: torch.Tensor
) -> None:
    plain = new_classifier("feedforward", params.network("feedforward"), manifest).eval()

    assert not grad_cam(plain, images, torch.tensor([0, 1, 2])).any()
    assert len(grad_cam(classifier_for(params, manifest, flips=False), images[:0], torch.tensor([], dtype=int))) == 0
