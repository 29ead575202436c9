"""Training batches from one's own images: images/s of a shuffled epoch in batches of 256, images of 64 x 64 x 3.

Nothing is trained: a batch, its images and labels as tensors in the training process, is dropped as soon as it is
there. Each contender prepared the 20,000 photographs of `own_images` before, in its own way, which is not counted. A
value is the median of a process's epochs without the first, in which workers start and files are read for the first
time; a process's workers stay from epoch to epoch.

- reconv: the prepared arrays, cropped and flipped a batch at a time, uint8, in the training process itself; its
  training split, 15,300 of the images.
- torchvision's ImageFolder and a DataLoader with two workers: decoded, resized, cropped and flipped anew, float32.
- Hugging Face's datasets: what `map` made, in format torch, a DataLoader with two workers, uint8. It neither crops nor
  flips, which favours it: with_format and the transform that would do so exclude each other.
- litdata: StreamingDataset and StreamingDataLoader with two workers on what `optimize` made, cropped and flipped by the
  data set's transform, uint8.
"""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.image_peers import TORCHVISION, against, are_installed, run_peer
from benchmarks.measure import OURS, Effort, Row, interleaved
from benchmarks.photographs import generated

TITLE = "Your own images: batches to train with"

_QUANTITY = "images/s of training batches"
_CONTENDERS = {
    OURS: "reconv_batches",
    TORCHVISION: "torchvision_folder",
    "Hugging Face datasets + DataLoader": "huggingface_datasets",
    "litdata StreamingDataLoader": "litdata_optimize",
}


def measure(effort: Effort) -> list[Row]:
    num_images, repeats, epochs = (20_000, 3, 4) if effort == "full" else (400, 1, 2)
    images = generated(num_images)
    there = [name for name in _CONTENDERS if name in (OURS, TORCHVISION) or are_installed()]
    with tempfile.TemporaryDirectory(prefix="loaders-", dir=images.parent) as work:
        contenders = {name: _loader(_CONTENDERS[name], images, Path(work), epochs) for name in there}
        values = interleaved(contenders, repeats)
    theirs = [against(_QUANTITY, name, values) for name in _CONTENDERS if name != OURS]
    return [Row(_QUANTITY, "images/s", OURS, values[OURS]), *theirs]


def _loader(peer: str, images: Path, work: Path, epochs: int) -> Callable[[], float]:
    """What it prepared in its first process is there for the next."""

    def run() -> float:
        ran = run_peer([peer], images, work / peer, epochs)
        speeds = [report["images_per_second"] for report in ran.reports if report["step"] == "epoch"]
        return statistics.median(speeds[1:])

    return run
