"""What most people start from: torchvision's data set, PIL transforms per image, DataLoader workers, Lightning.

Stand-alone, as the tutorials of PyTorch and Lightning show it: fp32, Adam at 1e-3, the Trainer's defaults (a logger, a
checkpoint per epoch), all cores. Prints a JSON line per epoch. The other peers take their data and module from here.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchmetrics import Accuracy
from torchvision import transforms
from torchvision.datasets import FashionMNIST

BATCH_SIZE = 128
NORMALIZE = transforms.Normalize((0.2860,), (0.3530,))
NUM_VALIDATION = 6_000
# Between what learning rates the examples of searches look, by network.
LR = {"textbook": (3e-4, 1e-2), "ours": (1e-3, 3e-2)}


class TutorialData(pl.LightningDataModule):
    """Training images, augmented one by one; `judge` says on which images accuracy is measured after each epoch:
    the test images (then all others are trained on), or `validation` images taken from the training images."""

    def __init__(self, root: Path, num_workers: int, judge: str = "test", train_images: int | None = None) -> None:
        super().__init__()
        self.root, self.num_workers, self.judge, self.train_images = root, num_workers, judge, train_images

    def setup(self, stage: str) -> None:
        augmented = transforms.Compose(
            [transforms.RandomCrop(28, padding=1), transforms.RandomHorizontalFlip(), transforms.ToTensor(), NORMALIZE]
        )
        plain = transforms.Compose([transforms.ToTensor(), NORMALIZE])
        train = FashionMNIST(self.root, train=True, transform=augmented)
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0)).tolist()[: self.train_images]
        if self.judge == "test":
            self.train, self.judged = Subset(train, order), FashionMNIST(self.root, train=False, transform=plain)
        else:
            held_out = min(NUM_VALIDATION, len(order) // 10)
            self.train = Subset(train, order[held_out:])
            self.judged = Subset(FashionMNIST(self.root, train=True, transform=plain), order[:held_out])

    def train_dataloader(self) -> DataLoader:
        return self._loader(self.train, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return self._loader(self.judged, shuffle=False)

    def _loader(self, dataset: Any, shuffle: bool) -> DataLoader:
        workers = {"num_workers": self.num_workers, "persistent_workers": self.num_workers > 0}
        return DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=shuffle, **workers)


class TutorialModule(pl.LightningModule):
    def __init__(self, network: nn.Module, lr: float = 1e-3) -> None:
        super().__init__()
        self.network = network
        self.lr = lr
        self.accuracy = Accuracy(task="multiclass", num_classes=10)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        images, labels = batch
        loss = nn.functional.cross_entropy(self.network(images), labels)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        images, labels = batch
        logits = self.network(images)
        self.accuracy(logits, labels)
        self.log("val_loss", nn.functional.cross_entropy(logits, labels))
        self.log("val_acc", self.accuracy, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class PrintEpochs(pl.Callback):
    """What the benchmark reads: a JSON line after each epoch."""

    def __init__(self, **labels: Any) -> None:
        self.labels = labels

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self.seconds = time.perf_counter() - self.began

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            report = {"epoch": trainer.current_epoch + 1, "accuracy": float(trainer.callback_metrics["val_acc"])}
            speed = len(trainer.train_dataloader.dataset) / self.seconds
            print(json.dumps({**self.labels, **report, "images_per_second": speed}), flush=True)


def new_network(kind: str, widths: Sequence[int] | None = None, dropout: float = 0.0) -> nn.Module:
    """`textbook`: conv 32, pool, conv 64, pool, two linear layers. `ours`: what reconv trains by default. With other
    widths or dropout where a search asks for them."""
    if kind == "ours":
        from reconv.models.cnn import build_cnn
        from reconv.params import load_params

        network = load_params(Path(__file__).parents[2] / "params.yaml").models.cnn
        changed = {"dropout": dropout, **({"widths": tuple(widths)} if widths else {})}
        return build_cnn(network.model_copy(update=changed), (28, 28, 1), 10)
    layers: list[nn.Module] = []
    channels, side = 1, 28
    for width in widths or (32, 64):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels, side = width, side // 2
    layers += [nn.Flatten(), nn.Linear(channels * side * side, 128), nn.ReLU(), nn.Dropout(dropout), nn.Linear(128, 10)]
    return nn.Sequential(*layers)


def search_arguments() -> argparse.Namespace:
    """Of the command line of an example that searches."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="root of torchvision.datasets.FashionMNIST")
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--max-epochs", type=int, default=3, help="of a trial")
    parser.add_argument(
        "--budget-epochs", type=int, help="of all trials; without it the example's own stopping decides"
    )
    parser.add_argument("--network", choices=["textbook", "ours"], default="textbook")
    parser.add_argument("--judge", choices=["test", "validation"], default="validation", help="images that decide")
    parser.add_argument("--train-images", type=int)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="root of torchvision.datasets.FashionMNIST")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--network", choices=["textbook", "ours"], default="textbook")
    parser.add_argument("--train-images", type=int)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            max_epochs=arguments.epochs,
            default_root_dir=folder,
            enable_progress_bar=False,
            callbacks=[PrintEpochs()],
        )
        data = TutorialData(arguments.data, num_workers=2, train_images=arguments.train_images)
        trainer.fit(TutorialModule(new_network(arguments.network)), datamodule=data)


if __name__ == "__main__":
    main()
