"""Where pretrained weights come from, and every way in which a file can be the wrong one. No network is reached."""

import pickle
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model, list_models

from reconv.artifacts import Manifest
from reconv.errors import DataError, ParamsError
from reconv.files import sha256_of_file
from reconv.models import MODELS
from reconv.models.pretrained import find_weights, load_pretrained
from reconv.params import Params, TransferParams
from reconv.training.beginning import weights_digests

NAME = "mobilenet_v3_small"
SAFE = "mine/weights.safetensors"


def params_of(weights: str, name: str = NAME) -> TransferParams:
    return TransferParams(model=f"torchvision:{name}", weights=weights, frozen=0.0, dropout=0.0)


def network_of(name: str = NAME) -> nn.Module:
    return MODELS["cnn"](params_of("none", name), (224, 224, 3), 3)


def write_weights(path: str | Path, name: str = NAME, seed: int = 7) -> dict[str, torch.Tensor]:
    """Those of a network of torchvision's for 1000 classes; as safetensors, or as torch writes them."""
    torch.manual_seed(seed)
    state: dict[str, torch.Tensor] = get_model(name, weights=None).state_dict()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if str(path).endswith(".safetensors"):
        save_file(state, path)
    else:
        torch.save(state, path)
    return state


@pytest.fixture
def cached(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch hub would keep the default weights, of which torchvision's address leads nowhere."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder / "hub"))

    def described(params: TransferParams) -> Any:
        class Described:
            url = "http://127.0.0.1:9/models/net-0123abcd.pth"  # the port `discard`, where nothing listens

        return Described

    monkeypatch.setattr("reconv.models.pretrained.default_weights", described)
    return folder / "hub" / "checkpoints" / "net-0123abcd.pth"


@pytest.mark.parametrize(
    ("path", "name"),
    # MNASNet's layers ask for the version of their format, which safetensors do not hold.
    [*product([SAFE, "weights.pth"], [NAME, "squeezenet1_1", "vit_b_32"]), ("weights.pth", "mnasnet0_5")],
)
def test_all_layers_but_the_classes_begin_with_the_file(path: str, name: str) -> None:
    state = write_weights(path, name)
    network = network_of(name)
    before = network.state_dict()
    new = [key for key in before if key not in state]
    drawn = {key: before[key].clone() for key in new}

    digest = load_pretrained(network, params_of(path, name))

    assert digest == sha256_of_file(Path(path))
    after = network.state_dict()
    assert len(new) == 2
    assert all(torch.equal(after[key], drawn[key]) for key in new)
    assert all(torch.equal(after[key], state[key]) for key in after if key not in new)


def test_a_classes_layer_of_any_kind_is_left_out() -> None:
    """Of ten classes instead of 1000, in a Sequential instead of alone."""
    state = write_weights(SAFE, "resnet18")
    del state["fc.weight"], state["fc.bias"]
    save_file({**state, "fc.1.weight": torch.zeros(10, 512)}, SAFE)

    assert load_pretrained(network_of("resnet18"), params_of(SAFE, "resnet18"))


def test_files_with_densenets_old_names_are_read() -> None:
    state = write_weights(SAFE, "densenet121")
    save_file({key.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): v for key, v in state.items()}, SAFE)

    assert load_pretrained(network_of("densenet121"), params_of(SAFE, "densenet121"))


def test_without_pretrained_weights_nothing_changes() -> None:
    network = network_of()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}

    assert load_pretrained(network, params_of("none")) is None
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


def test_a_path_without_a_file_is_named() -> None:
    with pytest.raises(ParamsError, match=r"models\.cnn\.weights is mine/none\.safetensors, where there is no file"):
        find_weights(params_of("mine/none.safetensors"))


@pytest.mark.parametrize("other", ["resnet18", "mobilenet_v3_large", "shufflenet_v2_x0_5"])
def test_weights_of_another_network_are_refused_by_both_names(other: str) -> None:
    write_weights(SAFE, other)

    with pytest.raises(DataError, match=rf"{SAFE} holds no weights of torchvision:{NAME} \(.*correct models\.cnn"):
        load_pretrained(network_of(), params_of(SAFE))


class Harmful:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("harmed"),))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no weights"),
        lambda path: path.write_bytes(pickle.dumps(Harmful(), protocol=2)),
        lambda path: torch.save(Harmful(), path),
        lambda path: torch.save(get_model(NAME, weights=None), path),
    ],
    ids=["empty", "text", "pickle", "torch's pickle", "a whole network"],
)
@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_what_cannot_be_read_without_running_code_is_not_read(write: Callable[[Path], Any], name: str) -> None:
    write(Path(name))

    with pytest.raises(DataError, match=f"{name} holds no weights that can be read safely"):
        load_pretrained(network_of(), params_of(name))

    assert not Path("harmed").exists()


def test_tensors_in_another_order_than_by_name_are_refused() -> None:
    torch.save({"epoch": 3, "state_dict": {}}, "weights.pth")

    with pytest.raises(DataError, match=r"weights\.pth must hold tensors by name"):
        load_pretrained(network_of(), params_of("weights.pth"))


def test_default_weights_that_are_not_here_nor_to_be_had_say_where_to_put_them(cached: Path) -> None:
    with pytest.raises(DataError) as refusal:
        load_pretrained(network_of(), params_of("default"))

    assert f"Copy http://127.0.0.1:9/models/net-0123abcd.pth to {cached}" in str(refusal.value)
    assert list(cached.parent.iterdir()) == []


def test_a_cached_file_with_another_hash_is_refused_with_both(cached: Path) -> None:
    write_weights(cached)
    actual = sha256_of_file(cached)[:12]

    with pytest.raises(DataError, match=rf"net-0123abcd\.pth is not the file.*SHA-256 {actual}… instead of 0123abcd…"):
        load_pretrained(network_of(), params_of("default"))


def test_a_cached_file_with_its_hash_is_taken(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_weights("weights.pth")
    digest = sha256_of_file(Path("weights.pth"))
    named = cached.with_name(f"net-{digest[:8]}.pth")
    named.parent.mkdir(parents=True)
    shutil.copy("weights.pth", named)
    described = type("Described", (), {"url": f"http://127.0.0.1:9/{named.name}"})
    monkeypatch.setattr("reconv.models.pretrained.default_weights", lambda _: described)

    assert load_pretrained(network_of(), params_of("default")) == digest


def test_every_network_has_default_weights_whose_name_holds_their_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def download(url: str, path: str, hash_prefix: str, progress: bool) -> None:
        asked.append(hash_prefix)
        raise OSError("not in a test")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "hub")
    names = set(list_models(module=torchvision.models)) - {"googlenet", "inception_v3"}
    for name in names:
        with pytest.raises(DataError, match="not in a test"):
            find_weights(params_of("default", name))

    assert len(asked) == len(names)
    assert all(len(digits) >= 8 for digits in asked)


def test_the_driver_tries_each_choice_of_the_search_once(
    make_params: Callable[..., Params], of_torchvision: Callable[..., dict[str, Any]], manifest: Manifest
) -> None:
    write_weights("a.pth", seed=1)
    write_weights("b.pth", seed=2)
    changes = of_torchvision(weights="a.pth")
    changes["search.space.cnn"]["weights"] = {"choice": ["a.pth", "b.pth", "none"]}
    params = make_params(changes)
    said: list[str] = []

    digests = weights_digests(params.networks_tried("cnn"), manifest, said.append)

    assert said == [f"torchvision:{NAME}, weights: {weights}" for weights in ("a.pth", "b.pth", "none")]
    assert digests == [sha256_of_file(Path("a.pth")), sha256_of_file(Path("b.pth")), None]
    write_weights("b.pth", seed=3)
    assert weights_digests(params.networks_tried("cnn"), manifest, said.append) != digests
    assert weights_digests(params.networks_tried("feedforward"), manifest, said.append) == []


def test_a_choice_of_the_search_that_cannot_be_used_is_told_before_it(
    make_params: Callable[..., Params], of_torchvision: Callable[..., dict[str, Any]], manifest: Manifest
) -> None:
    changes = of_torchvision()
    changes["search.space.cnn"]["model"] = {"choice": [f"torchvision:{NAME}", "torchvision:resnet19"]}

    with pytest.raises(ParamsError, match="torchvision:resnet19, which is unknown"):
        weights_digests(make_params(changes).networks_tried("cnn"), manifest, print)
