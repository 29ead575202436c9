"""Training throughput: images/s of `fit` with everything on, against what most start from and against the bare limit.

- the tutorial pipeline (torchvision's data set, PIL transforms, DataLoader with 2 workers, Lightning) on the same
  network, batch size, augmentation and images; fp32 and the Trainer's defaults, as tutorials have it. On the network
  of the textbooks, and on ours, whose strided convolutions leave less to compute, so that the tutorial waits for data;
- the bare limit: the same network, optimizers and precision on one fixed batch that lies on the device already:
  forward, backward, optimizer step and nothing else. No training of this network by these libraries can be faster.

`fit` draws, crops and flips its batches, sums loss and accuracy, follows its schedule, and validates and saves a
checkpoint after every epoch. All use all cores, or the GPU, and the last epoch counts: start-up is left out here
(`accuracy` has it), and so is the time of the validation itself, of all of them.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import OURS, Effort, Row, interleaved, ratio, run_command
from benchmarks.peers.data import torchvision_root

TITLE = "Training throughput"
REPEATS = 2
TUTORIAL, LIMIT = "tutorial (torchvision + Lightning)", "bare limit (one fixed batch)"
# The tutorial trains with batches of 128; the limit with ours is the ceiling of ours.
TUTORIAL_BATCH = 128
NAMES = {"textbook": "conv 32, pool, conv 64, pool, 2 linear layers", "ours": "the CNN of params.yaml"}
NETWORKS: dict[str, dict[str, str]] = {
    "textbook": {"widths": "[32,64]", "pooling": "max", "batch_norm": "false"},
    "ours": {},
}


def measure(effort: Effort) -> list[Row]:
    repeats = 1 if effort == "quick" else REPEATS
    images = 1280 if effort == "quick" else 20_480
    rows = []
    for model in ("cnn", "feedforward"):
        found = interleaved({OURS: _ours(model, images), LIMIT: _limit(model, images)}, repeats)
        share = ratio(found[OURS], found[LIMIT], lower_is_better=False)
        rows += [
            Row(f"{model}, as params.yaml has it", "images/s", OURS, found[OURS]),
            Row(f"{model}, as params.yaml has it", "images/s", LIMIT, found[LIMIT], share, bar=">= 0.95 x"),
        ]
    for network, values in NETWORKS.items():
        changes = {"batch_size": TUTORIAL_BATCH, "optimizer": "adamw", "whitened": "false", **values}
        same = [part for name, value in changes.items() for part in ("--set", f"{name}={value}")]
        contenders = {OURS: _ours("cnn", images, *same), TUTORIAL: _tutorial(network, images, torchvision_root())}
        found = interleaved(contenders, repeats)
        better = ratio(found[OURS], found[TUTORIAL], lower_is_better=False)
        quantity = f"{NAMES[network]}, batches of {TUTORIAL_BATCH}, Adam"
        rows += [
            Row(quantity, "images/s", OURS, found[OURS]),
            Row(quantity, "images/s", TUTORIAL, found[TUTORIAL], better, bar=">= 4.5 x; GPU 10 x"),
        ]
    return rows


def _ours(model: str, images: int, *values: str) -> Callable[[], float]:
    return _speed("reconv_fit", "--model", model, "--epochs", 3, "--train-images", images, *values)


def _limit(model: str, images: int) -> Callable[[], float]:
    return _speed("bare_limit", "--model", model, "--images", 4 * images)


def _tutorial(network: str, images: int, root: Path) -> Callable[[], float]:
    return _speed("tutorial", "--data", root, "--network", network, "--epochs", 2, "--train-images", images // 2)


def _speed(peer: str, *arguments: object) -> Callable[[], float]:
    """Of the last epoch."""
    command = [sys.executable, "-m", f"benchmarks.peers.{peer}", *map(str, arguments)]
    return lambda: float(run_command(command).reports[-1]["images_per_second"])
