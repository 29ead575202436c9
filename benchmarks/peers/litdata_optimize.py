"""litdata: optimize in two workers, then StreamingDataset and StreamingDataLoader, as its README has them.

A sample is an array of pixels and a label; crop and flip are the data set's transform. Shuffled are the chunks, and the
images within a chunk. The function that decodes is the user's own: with --scaled it asks the JPEG decoder for a smaller
scale, as ours does.
"""

from functools import partial
from pathlib import Path
from typing import Any

import litdata
import numpy as np
from PIL import Image

from benchmarks.peers.image_loading import LOADER, SIDE, augmentation, parser, report_epochs, reported, resized


def to_sample(path: str, scaled: bool) -> dict[str, Any]:
    with Image.open(path) as image:
        if scaled:
            image.draft("RGB", (2 * SIDE, 2 * SIDE))
        return {"pixels": np.asarray(resized(image)), "label": int(Path(path).parent.name)}


class Augmented(litdata.StreamingDataset):
    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), shuffle=True)
        self.augment = augmentation()

    def transform(self, sample: dict[str, Any], *_: Any) -> dict[str, Any]:
        import torch

        return {**sample, "pixels": self.augment(torch.from_numpy(sample["pixels"]).permute(2, 0, 1))}


def main() -> None:
    arguments = parser()
    arguments.add_argument("--scaled", action="store_true")
    given = arguments.parse_args()
    if not (given.output / "index.json").exists():
        paths = [str(path) for path in sorted(given.images.resolve().glob("*/*.jpg"))]
        decode = partial(to_sample, scaled=given.scaled)
        with reported("prepare"):
            litdata.optimize(decode, paths, str(given.output), num_workers=2, chunk_bytes="64MB")
    if given.epochs:
        loader = litdata.StreamingDataLoader(Augmented(given.output), **LOADER)
        report_epochs(lambda _: ((batch["pixels"], batch["label"]) for batch in loader), given.epochs)


if __name__ == "__main__":
    main()
