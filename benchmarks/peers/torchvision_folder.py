"""torchvision's ImageFolder and a DataLoader with two workers, as its documentation has it: each epoch decodes anew.

Without --epochs one pass over all images as they are; with it, epochs that crop and flip.
"""

from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.peers.image_loading import LOADER, SIDE, augmentation, parser, report_epochs, reported


def main() -> None:
    given = parser().parse_args()
    steps = [transforms.Resize(SIDE), transforms.CenterCrop(SIDE)]
    if given.epochs:
        steps.append(augmentation())
    loader = DataLoader(ImageFolder(given.images, transforms.Compose([*steps, transforms.ToTensor()])), **LOADER)
    if given.epochs:
        report_epochs(lambda _: loader, given.epochs)
    else:
        with reported("prepare"):
            for _ in loader:
                pass


if __name__ == "__main__":
    main()
