"""A bundle from another hand: `reconv predict` refuses it with one message, in bounded time and memory."""

import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from reconv.artifacts import Manifest
from reconv.cli.main import main
from reconv.files import read_json, write_bytes, write_json
from reconv.models.classifier import new_classifier, weights_as_bytes
from reconv.params import Params
from reconv.serving.bundle import write_bundle

_LIMIT_SECONDS = 60
_LIMIT_BYTES = 2 * 2**30
"""More than this process has when the test starts."""
BUNDLE = Path("bundle")


@pytest.fixture
def bundle(params: Params, manifest: Manifest) -> Path:
    torch.manual_seed(0)
    classifier = new_classifier("cnn", params.models.cnn, manifest)
    write_bytes(Path("trained/weights.safetensors"), weights_as_bytes(classifier))
    write_json(Path("trained/model.json"), classifier.arguments)
    write_bundle(BUNDLE, Path("trained"), 1.5, manifest, "crop")
    np.save("pixels.npy", np.zeros((2, 8, 8, 1), np.uint8))
    return BUNDLE


@pytest.fixture
def bounded() -> Iterator[None]:
    """A test that takes a minute, or gigabytes, fails instead of taking the machine along."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"not done after {_LIMIT_SECONDS} s")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_LIMIT_SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (used + _LIMIT_BYTES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def predicted() -> Result:
    return CliRunner().invoke(main, ["predict", "pixels.npy", "--model", str(BUNDLE), "--out", "answers.csv"])


def changed(name: str, **values: object) -> Callable[[], None]:
    """A JSON file with other values; NaN and infinity as Python writes them."""

    def change() -> None:
        (BUNDLE / name).write_text(json.dumps(read_json(BUNDLE / name) | values))

    return change


def in_network(**values: object) -> Callable[[], None]:
    def change() -> None:
        described = read_json(BUNDLE / "model.json")
        write_json(BUNDLE / "model.json", described | {"network": described["network"] | values})

    return change


def written(name: str, content: str | bytes) -> Callable[[], None]:
    return lambda: write_bytes(BUNDLE / name, content.encode() if isinstance(content, str) else content) and None


def replaced(name: str, make: Callable[[Path], object]) -> Callable[[], None]:
    def change() -> None:
        (BUNDLE / name).unlink()
        make(BUNDLE / name)

    return change


def in_weights(change_tensor: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[], None]:
    def change() -> None:
        state = load_file(BUNDLE / "weights.safetensors")
        change_tensor(state)
        save_file(state, BUNDLE / "weights.safetensors")

    return change


def first_of(state: dict[str, torch.Tensor], suffix: str) -> str:
    return next(name for name in sorted(state) if name.endswith(suffix))


def filled(suffix: str, value: float) -> Callable[[], None]:
    return in_weights(lambda state: state[first_of(state, suffix)].fill_(value))


def header_of(header: dict[str, object]) -> bytes:
    """A safetensors file without data."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


HOSTILE = {
    "negative temperature": (changed("served.json", temperature=-1), "served.json", "temperature is -1"),
    "temperature 0": (changed("served.json", temperature=0), "temperature is 0", "greater than or equal to 0.001"),
    "NaN temperature": (changed("served.json", temperature=float("nan")), "served.json", "NaN is not a number"),
    "temperature 1e999": (written("served.json", '{"temperature": 1e999}'), "served.json", "temperature is inf"),
    "temperature true": (changed("served.json", temperature=True), "served.json", "temperature is True"),
    "image size -5": (changed("served.json", image_size=-5), "served.json", "image_size is -5"),
    "image size 1,000,000": (changed("served.json", image_size=10**6), "image_size is 1000000", "equal to 1024"),
    "another image size": (changed("served.json", image_size=16), "describes images of 16 x 16 x 1", "of 8 x 8 x 1"),
    "two channels": (changed("served.json", channels=2), "served.json", "channels is 2"),
    "unknown resize": (changed("served.json", resize="melt"), "served.json", "resize is 'melt'"),
    "unknown key": (changed("served.json", command="id"), "served.json", "command: unknown key"),
    "list for object": (written("served.json", "[1, 2]"), "served.json", "must be a valid dictionary"),
    "nested too deeply": (written("served.json", "[" * 10**6), "served.json", "nested too deeply"),
    "a number of 10,000 digits": (written("model.json", "1" * 10**4), "model.json", "cannot be read"),
    "a file of 20 MB": (written("model.json", " " * 20 * 10**6), "model.json", "must have at most 16,777,216"),
    "not UTF-8": (written("model.json", b"\xff\xfe{}"), "model.json", "cannot be read"),
    "model.json without class names": (written("model.json", '{"model": "cnn"}'), "model.json", "missing"),
    "unknown model": (changed("model.json", model="os.system"), "model is 'os.system'", "cnn, feedforward"),
    "model of another type": (changed("model.json", model=[]), "model.json", "model is []"),
    "sizes of 1,000,000": (
        changed("model.json", image_shape=[10**6, 10**6, 1]),
        "model.json",
        "image_shape.0 is 1000000",
    ),
    "input of 1,000,000": (changed("model.json", input_shape=[10**6, 8, 1]), "model.json", "input_shape.0 is 1000000"),
    "negative sizes": (changed("model.json", image_shape=[-5, 8, 1]), "model.json", "image_shape.0 is -5"),
    "no class": (changed("model.json", class_names=[]), "model.json", "class_names is []"),
    "duplicate class": (changed("model.json", class_names=["a", "a", "b"]), "model.json", "must be distinct names"),
    "empty class name": (changed("model.json", class_names=["a", "", "b"]), "model.json", "class_names.1 is ''"),
    "number as class name": (changed("model.json", class_names=["a", 1, "b"]), "model.json", "class_names.1 is 1"),
    "one class too many": (changed("model.json", class_names=list("abcd")), "weights.safetensors", "must be (4,"),
    "a million classes": (changed("model.json", class_names=["a"] * 10**6), "model.json", "at most 100000"),
    "NaN mean": (changed("model.json", mean=[float("nan")]), "model.json", "NaN is not a number"),
    "infinite mean": (changed("model.json", mean=[float("inf")]), "model.json", "Infinity is not a number"),
    "mean of another length": (changed("model.json", mean=[1.0, 2.0, 3.0]), "mean has 3 values", "must have 1"),
    "std 0": (changed("model.json", std=[0.0]), "model.json", "std.0 is 0.0, must be greater than 0"),
    "pixel order -1": (changed("model.json", pixel_order=-1), "model.json", "pixel_order is -1"),
    "pixel order 2**70": (changed("model.json", pixel_order=2**70), "model.json", "pixel_order is"),
    "flips as text": (changed("model.json", flips="no"), "model.json", "flips is 'no'"),
    "network is a list": (changed("model.json", network=[]), "model.json", "network is []"),
    "a million layers": (in_network(widths=[1] * 10**6), "model.json", "network.widths is [1, 1"),
    "a width of 10**9": (in_network(widths=[10**9]), "model.json", "network.widths.0 is 1000000000"),
    "the widest network": (in_network(widths=[2**20] * 2), "weights.safetensors", "must be (1048576,"),
    "negative width": (in_network(widths=[-5]), "model.json", "network.widths.0 is -5"),
    "a million convolutions": (in_network(convolutions=10**6), "model.json", "network.convolutions is 1000000"),
    "kernel of 10**6 + 1": (in_network(kernel_size=10**6 + 1), "model.json", "network.kernel_size is 1000001"),
    "hidden of 10**12": (in_network(hidden=10**12), "model.json", "network.hidden is 1000000000000"),
    "more blocks than halvings": (in_network(widths=[4] * 9), "models.cnn.widths has 9 blocks", "8 x 8"),
    "network of another section": (in_network(lr=1), "model.json", "network.lr: unknown key"),
    "unknown network of torchvision": (
        changed("model.json", network={"model": "torchvision:x", "weights": "none", "frozen": 0.0, "dropout": 0.0}),
        "torchvision:x",
        "is unknown",
    ),
    "NaN weight": (filled("weight", float("nan")), "weights.safetensors", "NaN or infinity"),
    "infinite weight": (filled("weight", float("inf")), "weights.safetensors", "NaN or infinity"),
    "weights whose outputs overflow": (filled("weight", 3e38), "NaN or infinite", "weights are too large"),
    "negative variance": (filled("running_var", -1.0), "weights.safetensors", "negative variance"),
    "weights as float64": (
        in_weights(lambda state: state.update({k: v.double() for k, v in state.items() if v.is_floating_point()})),
        "holds torch.float64",
        "must hold torch.float32",
    ),
    "a tensor is missing": (
        in_weights(lambda state: state.pop(first_of(state, "bias"))),
        "1 tensors missing, 0 unknown",
        "weights.safetensors",
    ),
    "an unknown tensor": (
        in_weights(lambda state: state.update(extra=torch.zeros(1))),
        "0 tensors missing, 1 unknown",
        "unknown extra",
    ),
    "weights that promise 10**12 numbers": (
        written("weights.safetensors", header_of({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 0]}})),
        "bundle holds no classifier",
        "invalid shape",
    ),
    "a header of 2**60 bytes": (
        written("weights.safetensors", (2**60).to_bytes(8, "little")),
        "weights.safetensors",
        "must have at most 4,194,304",
    ),
    "empty weights": (written("weights.safetensors", b""), "bundle holds no classifier", "run `dvc repro`"),
    **{
        f"{kind} as {name}": (replaced(name, make), name, "not a regular file")
        for name in ("served.json", "model.json", "weights.safetensors")
        for kind, make in {
            "FIFO": os.mkfifo,
            "folder": Path.mkdir,
            "device": lambda path: path.symlink_to("/dev/zero"),
        }.items()
    },
    "link to nowhere as served.json": (
        replaced("served.json", lambda path: path.symlink_to("nowhere")),
        "served.json",
        "missing",
    ),
    "no weights": (replaced("weights.safetensors", lambda _: None), "weights.safetensors", "cannot be read"),
}


@pytest.mark.parametrize(("change", "where", "what"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_bundle_is_refused_with_one_message(
    bundle: Path, bounded: None, change: Callable[[], None], where: str, what: str
) -> None:
    change()

    done = predicted()

    assert (done.exit_code, type(done.exception)) == (1, SystemExit), done.output
    assert done.stderr.startswith("reconv: ")
    assert where in done.stderr
    assert what in done.stderr
    assert len(done.stderr) < 1000
    assert not Path("answers.csv").exists()


def test_a_good_bundle_is_answered(bundle: Path, bounded: None) -> None:
    assert predicted().exit_code == 0
    assert len(Path("answers.csv").read_text().splitlines()) == 3


def test_a_bundle_may_be_links_to_regular_files_as_dvc_makes_them(bundle: Path) -> None:
    Path("cache").mkdir()
    for path in bundle.iterdir():
        target = path.rename(Path("cache") / path.name)
        path.symlink_to(target.resolve())

    assert predicted().exit_code == 0
