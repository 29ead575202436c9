"""Ours: training batches from data/prepared's arrays, as `fit` takes them, with the crop and flip of params.yaml."""


def main() -> None:
    # Here, not above: every decoding process reads this file as well.
    import torch

    from benchmarks.measure import ROOT
    from benchmarks.peers.image_loading import BATCH_SIZE, parser, report_epochs
    from benchmarks.preparing import fetch_and_prepare
    from reconv.data.arrays import PreparedData
    from reconv.data.batches import Resident, TrainingBatches
    from reconv.params import load_params

    given = parser().parse_args()
    if not (given.output / "prepared").exists():
        fetch_and_prepare(given.images.resolve(), given.output)
    data = Resident(PreparedData(given.output / "prepared").train, torch.device("cpu"))
    augment = load_params(ROOT / "params.yaml").augment
    report_epochs(lambda epoch: TrainingBatches(data, BATCH_SIZE, augment, seed=0, epoch=epoch), given.epochs)


if __name__ == "__main__":
    main()
