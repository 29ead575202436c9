"""Networks of torchvision's: built, given what they see, and classifiers like any other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from reconv.artifacts import Manifest
from reconv.errors import ParamsError
from reconv.files import write_bytes, write_json
from reconv.models import MODELS
from reconv.models.classifier import ImageClassifier, load_classifier, new_classifier, weights_as_bytes
from reconv.models.size import count_multiply_adds_of, count_parameters_of, network_on
from reconv.models.transfer import freeze_all_but_classes, input_shape_of, name_of
from reconv.params import Params, TransferParams

NUM_CLASSES = 3
FAMILIES = ["resnet18", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "densenet121", "squeezenet1_1"]
ALL = [
    name
    for name in torchvision.models.list_models(module=torchvision.models)
    # RegNets are built on the CPU, this one with 2.6 GB of weights.
    if name not in ("googlenet", "inception_v3", "regnet_y_128gf")
]


def params_of(name: str, weights: str = "none", **values: Any) -> TransferParams:
    usual = {"model": f"torchvision:{name}", "weights": weights, "frozen": 0.5, "dropout": 0.0}
    return TransferParams.model_validate({**usual, **values})


def images(shape: tuple[int, ...], count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("name", ALL)
def test_every_network_gets_a_layer_for_the_classes_and_counts_its_cost(name: str) -> None:
    network = network_on("meta", params_of(name), (224, 224, 3), NUM_CLASSES)

    shapes = [tuple(parameter.shape) for parameter in network.parameters()]
    assert (NUM_CLASSES,) in shapes
    assert (1000,) not in shapes[-2:]
    assert count_multiply_adds_of(params_of(name), (224, 224, 3), NUM_CLASSES) > 10**7


@pytest.mark.parametrize("name", FAMILIES)
def test_the_classes_layer_is_drawn_by_the_seed_and_every_weight_learns(name: str) -> None:
    def built(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return MODELS["cnn"](params_of(name), (64, 64, 3), NUM_CLASSES)

    network, same, other = built(0), built(0), built(1)

    states = [one.state_dict() for one in (network, same, other)]
    assert all(torch.equal(tensor, states[1][key]) for key, tensor in states[0].items())
    *_, last = (key for key, tensor in states[0].items() if tensor.ndim > 1)
    assert not torch.equal(states[0][last], states[2][last])
    logits = network(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (2, NUM_CLASSES)
    logits.sum().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", ["resnet_18", "fasterrcnn_resnet50_fpn", "quantized_resnet18"])
def test_what_torchvision_does_not_classify_by_is_refused_with_what_it_has(name: str) -> None:
    with pytest.raises(ParamsError, match=rf"models\.cnn\.model is torchvision:{name}, which is unknown.*resnet18"):
        name_of(params_of(name))


def test_networks_with_auxiliary_classifiers_are_refused_with_the_reason() -> None:
    with pytest.raises(ParamsError, match="has classifiers between its layers"):
        name_of(params_of("googlenet"))


@pytest.mark.parametrize(
    ("name", "weights", "image_shape", "seen"),
    [
        ("resnet18", "default", (28, 28, 1), (224, 224, 3)),
        ("resnet18", "default", (300, 300, 3), (224, 224, 3)),
        ("efficientnet_b1", "a.safetensors", (64, 64, 3), (240, 240, 3)),
        ("resnet18", "none", (64, 80, 3), (64, 80, 3)),
        ("resnet18", "none", (63, 80, 1), (224, 224, 3)),
        ("vit_b_32", "none", (300, 300, 3), (224, 224, 3)),
        ("swin_v2_t", "none", (300, 300, 3), (256, 256, 3)),
    ],
)
def test_what_is_seen_of_an_image(
    name: str, weights: str, image_shape: tuple[int, int, int], seen: tuple[int, int, int]
) -> None:
    assert input_shape_of(params_of(name, weights), image_shape) == seen


@pytest.mark.parametrize("channels", [1, 3])
def test_pretrained_weights_see_what_torchvisions_own_transforms_make(manifest: Manifest, channels: int) -> None:
    of_shape = manifest.model_copy(
        update={"image_shape": (40, 40, channels), "mean": (60.0,) * channels, "std": (50.0,) * channels}
    )
    classifier = new_classifier("cnn", params_of("mobilenet_v3_small", "default"), of_shape).eval()
    batch = images((40, 40, channels))

    seen = classifier.inputs(batch)

    transforms = torchvision.models.MobileNet_V3_Small_Weights.DEFAULT.transforms
    expected = transforms(resize_size=224)(batch.permute(0, 3, 1, 2).expand(-1, 3, -1, -1))
    torch.testing.assert_close(seen, expected, atol=0.02, rtol=0)  # torchvision rounds to 0..255 in between


def test_without_pretrained_weights_the_images_own_scale_counts(manifest: Manifest) -> None:
    of_shape = manifest.model_copy(update={"image_shape": (64, 64, 1)})
    batch = images((64, 64, 1))

    seen = new_classifier("cnn", params_of("mobilenet_v3_small"), of_shape).inputs(batch)

    expected = ((batch.permute(0, 3, 1, 2).float() - manifest.mean[0]) / manifest.std[0]).expand(-1, 3, -1, -1)
    torch.testing.assert_close(seen, expected)


@pytest.fixture(params=["squeezenet1_1", "mnasnet0_5"])
def classifier(manifest: Manifest, request: pytest.FixtureRequest) -> ImageClassifier:
    torch.manual_seed(0)
    made = new_classifier("cnn", params_of(request.param, "default"), manifest, flips=True, pixel_order=1)
    return made.eval()


def save(classifier: ImageClassifier, folder: Path) -> None:
    write_bytes(folder / "weights.safetensors", weights_as_bytes(classifier))
    write_json(folder / "model.json", classifier.arguments)


def test_a_saved_classifier_comes_back_equal_without_any_pretrained_file(
    classifier: ImageClassifier, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(classifier, folder)
    monkeypatch.setattr("reconv.models.classifier.load_pretrained", None)
    monkeypatch.setattr("reconv.models.transfer.default_weights", None)  # nor of torchvision's descriptions

    loaded = load_classifier(folder)

    assert loaded.arguments == classifier.arguments
    assert torch.equal(loaded(images((8, 8, 1))), classifier(images((8, 8, 1))))


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "vit_b_32"])
def test_frozen_is_all_but_the_classes_layer(name: str) -> None:
    network = network_on("cpu", params_of(name, dropout=0.5), (224, 224, 3), NUM_CLASSES)

    freeze_all_but_classes(network, True)

    learning = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert len(learning) == 2
    assert all(len(network.get_parameter(name)) == NUM_CLASSES for name in learning)
    training = [type(layer) for layer in network.modules() if layer.training and not list(layer.children())]
    assert training[0] is nn.Dropout
    assert len(training) == 2
    freeze_all_but_classes(network, False)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(layer.training for layer in network.modules())


def test_counts_are_those_of_the_network_itself(make_params: Callable[..., Params]) -> None:
    network = network_on("cpu", params_of("resnet18"), (8, 8, 1), 5)

    assert count_parameters_of(params_of("resnet18"), (8, 8, 1), 5) == sum(p.numel() for p in network.parameters())
    assert count_multiply_adds_of(params_of("resnet18"), (8, 8, 1), 5) == pytest.approx(1.81e9, rel=0.01)  # at 224


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mnasnet0_5", "resnet18"])
def test_running_statistics_are_of_the_last_steps(name: str) -> None:
    """MNASNet's own would be 99 % those that it began with after 30 steps."""
    network = network_on("cpu", params_of(name), (64, 64, 3), NUM_CLASSES)
    first = next(layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))
    generator = torch.Generator().manual_seed(0)

    with torch.no_grad():
        for _ in range(30):
            network(5 + torch.randn(4, 3, 64, 64, generator=generator))
        before = first.running_mean.clone()
        first.reset_running_stats()
        first.momentum = None  # of all steps alike
        network(5 + torch.randn(64, 3, 64, 64, generator=generator))

    torch.testing.assert_close(before, first.running_mean, rtol=0.1, atol=0.1)
