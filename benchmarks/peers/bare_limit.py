"""The most images/s that a network can be trained with: the same fixed batch over and over, already on the device.

Forward, backward and the recipe's optimizers, in the precision that reconv takes, on all cores or the GPU; no data, no
augmentation, no metrics, no schedule. Prints one JSON line.
"""

import argparse
import json
import os
import time

import torch
from torch import nn

from reconv.data.arrays import PreparedData
from reconv.models.classifier import new_classifier
from reconv.params import load_params
from reconv.training.optimizers import new_optimizers
from reconv.training.precision import best_device, resolve_precision


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="cnn")
    parser.add_argument("--images", type=int, default=50_000, help="how many times an image is trained on")
    arguments = parser.parse_args()
    params, data, device = load_params(), PreparedData(), best_device()
    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    batch_size = params.recipe.batch_size
    images_BHWC = torch.from_numpy(data.train.images[:batch_size]).to(device)
    labels_B = torch.from_numpy(data.train.labels[:batch_size]).to(device)
    classifier = new_classifier(arguments.model, params.network(arguments.model), data.manifest).to(device).train()
    # A learning rate of 0 costs the same; with another the batch is soon known by heart, and numbers too small for
    # normal floats make every operation on a CPU slower.
    optimizers = new_optimizers(classifier.network, params.recipe.model_copy(update={"lr": 0.0}))
    loss = nn.CrossEntropyLoss(label_smoothing=params.recipe.label_smoothing)
    in_bf16 = resolve_precision(params.recipe.precision, device) == "bf16-mixed"

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=in_bf16):
            value = loss(classifier(images_BHWC), labels_B)
        for optimizer in optimizers:
            optimizer.zero_grad()
        value.backward()
        for optimizer in optimizers:
            optimizer.step()

    for _ in range(20):
        step()
    _wait(device)
    began = time.perf_counter()
    steps = max(1, arguments.images // batch_size)
    for _ in range(steps):
        step()
    _wait(device)
    print(json.dumps({"images_per_second": steps * batch_size / (time.perf_counter() - began)}), flush=True)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
