"""Ours as one command: what the stages `prepare` and `train` do, for one seed, with all cores.

Packs data/raw into a temporary folder and trains on all training images; the test images stand in for the validation
images, so that test accuracy is known after each epoch, and a checkpoint is saved as the stage does. Prints a JSON line
per epoch.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from reconv.data.arrays import PreparedData, Split
from reconv.data.packing import prepare
from reconv.files import atomic
from reconv.params import ModelsParams, load_params
from reconv.training.fit import fit
from reconv.training.job import EpochResult, SaveCheckpoint, TrainingJob

ROOT = Path(__file__).parents[2]


def value_of(text: str) -> tuple[str, Any]:
    """KEY=VALUE, the value as JSON where it is: lr=1e-2, widths=[32,64], pooling=max."""
    key, _, value = text.partition("=")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--model", choices=list(ModelsParams.model_fields), default="cnn")
    parser.add_argument("--set", type=value_of, action="append", default=[], metavar="KEY=VALUE", dest="values")
    parser.add_argument("--train-images", type=int)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    params = load_params(ROOT / "params.yaml")
    recipe, network = params.with_values(arguments.model, dict(arguments.values))
    job = TrainingJob(arguments.model, network, recipe, params.augment, arguments.epochs, arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "last.ckpt"

        def on_epoch(result: EpochResult, save: SaveCheckpoint) -> None:
            with atomic(checkpoint) as temporary:
                save(temporary)
            report = {"epoch": result.epoch, "accuracy": result.validation_accuracy}
            print(json.dumps({**report, "images_per_second": result.images_per_second}), flush=True)

        prepared = Path(folder) / "prepared"
        prepare(params.data, ROOT / "data" / "raw", prepared, Path(folder) / "decoded", lambda *_: None)
        data = PreparedData(prepared)
        count = arguments.train_images
        train = Split(data.development.images[:count], data.development.labels[:count])
        fit(job, data.manifest, train, data.test, on_epoch)


if __name__ == "__main__":
    main()
