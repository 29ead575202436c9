from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load
from torchvision.models import get_model

from reconv.data.arrays import PreparedData
from reconv.errors import TrainingError
from reconv.files import sha256_of_file, write_bytes, write_json
from reconv.models.classifier import load_classifier
from reconv.training.fit import fit
from reconv.training.job import EpochResult, FitResult, OnEpoch, SaveCheckpoint, TrainingJob

# Everything that draws random numbers or keeps a state of its own.
RANDOM = {"augment.crop": 1, "augment.flip": True, "models.cnn.dropout": 0.3, "models.feedforward.dropout": 0.3}
HUGE_LR = 1e30


def ignore(_: EpochResult, __: SaveCheckpoint) -> None:
    pass


@pytest.fixture
def run(prepared: PreparedData) -> Callable[..., FitResult]:
    """run(job): a training on the shared tiny images."""

    def train(
        job: TrainingJob, on_epoch: OnEpoch = ignore, resume_from: Path | None = None, with_validation: bool = True
    ) -> FitResult:
        validation = prepared.validation if with_validation else None
        return fit(job, prepared.manifest, prepared.train, validation, on_epoch, resume_from)

    return train


def losses(result: FitResult) -> list[float | None]:
    """All that is measured but time."""
    return [
        value
        for epoch in result.curve
        for value in (epoch.train_loss, epoch.train_accuracy, epoch.validation_loss, epoch.validation_accuracy)
    ]


@pytest.mark.parametrize("model", ["cnn", "feedforward"])
def test_same_seed_gives_identical_weights_and_metrics(
    run: Callable[..., FitResult], make_job: Callable[..., TrainingJob], model: str
) -> None:
    job = make_job(model, changes=RANDOM)
    first = run(job)
    torch.manual_seed(12345)  # whatever happened before in the process
    torch.rand(3)

    second = run(job)

    assert second.weights == first.weights
    assert losses(second) == losses(first)


def test_another_seed_gives_another_training(
    run: Callable[..., FitResult], make_job: Callable[..., TrainingJob]
) -> None:
    first, second = (run(make_job(seed=seed, epochs=1)) for seed in (0, 1))

    assert first.weights != second.weights
    assert losses(first) != losses(second)


def test_watching_validation_does_not_change_the_training(
    run: Callable[..., FitResult], make_job: Callable[..., TrainingJob]
) -> None:
    job = make_job(changes=RANDOM)

    assert run(job, with_validation=False).weights == run(job).weights


@pytest.fixture
def make_transfer(make_job: Callable[..., TrainingJob], of_torchvision: Callable[..., dict[str, Any]]) -> Any:
    """make_transfer(frozen=0.5, epochs=2): MobileNet's training from weights that lie in weights.pth."""
    torch.manual_seed(7)
    torch.save(get_model("mobilenet_v3_small", weights=None).state_dict(), "weights.pth")

    def make(frozen: float, epochs: int, **changes: Any) -> TrainingJob:
        network = of_torchvision(weights=str(Path("weights.pth").resolve()), frozen=frozen)
        return make_job(epochs=epochs, changes={**network, "recipe.optimizer": "adamw", "recipe.lr": 1e-3, **changes})

    return make


def backbone_of(weights: bytes) -> dict[str, torch.Tensor]:
    """Without the classes' layer."""
    return {
        name.removeprefix("network."): tensor
        for name, tensor in load(weights).items()
        if not name.startswith("network.classifier.3.")
    }


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_frozen_weights_are_those_of_the_file_to_the_bit(
    run: Callable[..., FitResult], make_transfer: Callable[..., TrainingJob], optimizer: str
) -> None:
    result = run(make_transfer(1.0, 2, **{"recipe.optimizer": optimizer, "recipe.weight_decay": 1.0}))

    of_file = torch.load("weights.pth", weights_only=True)
    assert all(torch.equal(tensor, of_file[name]) for name, tensor in backbone_of(result.weights).items())
    assert result.curve[1].train_loss < result.curve[0].train_loss
    assert result.arguments["weights_sha256"] == sha256_of_file(Path("weights.pth"))


def test_after_the_frozen_epochs_all_weights_learn(
    run: Callable[..., FitResult], make_transfer: Callable[..., TrainingJob]
) -> None:
    """Running statistics of the normalisation as well."""
    result = run(make_transfer(0.5, 2))

    of_file = torch.load("weights.pth", weights_only=True)
    assert [name for name, t in backbone_of(result.weights).items() if torch.equal(t, of_file[name])] == []


@pytest.mark.parametrize("epoch", [1, 2, 3])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_transfer_resumed_in_either_phase_ends_as_an_uninterrupted_one(
    run: Callable[..., FitResult], make_transfer: Callable[..., TrainingJob], optimizer: str, epoch: int
) -> None:
    job = make_transfer(0.5, 4, **{"augment.flip": True, "recipe.optimizer": optimizer})
    checkpoints: list[Path] = []

    def keep(result: EpochResult, save: SaveCheckpoint) -> None:
        checkpoints.append(Path(f"{result.epoch}.ckpt"))
        save(checkpoints[-1])

    whole = run(job, keep)

    resumed = run(job, resume_from=checkpoints[epoch - 1])

    assert resumed.weights == whole.weights
    assert losses(resumed) == losses(whole)[epoch * 4 :]


def test_a_transfer_in_bfloat16_gives_float32_weights(
    run: Callable[..., FitResult], make_transfer: Callable[..., TrainingJob]
) -> None:
    result = run(make_transfer(0.5, 2, **{"recipe.precision": "bf16"}))

    assert {tensor.dtype for tensor in load(result.weights).values()} <= {torch.float32, torch.int64}


class InterruptedByTestError(Exception):
    """Of the process, after an epoch was saved."""


def interrupt_after(epoch: int, checkpoint: Path) -> OnEpoch:
    def on_epoch(result: EpochResult, save: SaveCheckpoint) -> None:
        save(checkpoint)
        if result.epoch == epoch:
            raise InterruptedByTestError

    return on_epoch


@pytest.mark.parametrize("with_validation", [True, False])
@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize("model", ["cnn", "feedforward"])
def test_a_resumed_training_ends_as_an_uninterrupted_one(
    run: Callable[..., FitResult],
    make_job: Callable[..., TrainingJob],
    model: str,
    epoch: int,
    with_validation: bool,
) -> None:
    job = make_job(model, epochs=3, changes=RANDOM)
    whole = run(job, with_validation=with_validation)
    checkpoint = Path("last.ckpt")
    with pytest.raises(InterruptedByTestError):
        run(job, interrupt_after(epoch, checkpoint), with_validation=with_validation)

    resumed = run(job, resume_from=checkpoint, with_validation=with_validation)

    assert resumed.weights == whole.weights
    assert [result.epoch for result in resumed.curve] == list(range(epoch + 1, 4))
    assert losses(resumed) == losses(whole)[epoch * 4 :]


def test_resuming_a_finished_training_gives_its_weights(
    run: Callable[..., FitResult], make_job: Callable[..., TrainingJob]
) -> None:
    job = make_job(changes=RANDOM)
    whole = run(job, lambda _, save: save(Path("last.ckpt")))

    resumed = run(job, resume_from=Path("last.ckpt"))

    assert resumed.weights == whole.weights
    assert resumed.curve == ()


@pytest.mark.parametrize("model", ["cnn", "feedforward"])
def test_the_tiny_classes_are_learned(
    run: Callable[..., FitResult], make_job: Callable[..., TrainingJob], model: str
) -> None:
    result = run(make_job(model, epochs=10, changes={"augment.crop": 0, "recipe.batch_size": 8}))

    first, last = result.curve[0], result.curve[-1]
    assert last.train_loss < first.train_loss
    assert last.validation_accuracy > 0.7  # chance is 1/3


def test_reported_loss_and_accuracy_are_means_over_images(
    run: Callable[..., FitResult], make_job: Callable[..., TrainingJob], prepared: PreparedData
) -> None:
    result = run(make_job(epochs=1, changes={"evaluate.batch_size": 5}))
    write_bytes(Path("weights.safetensors"), result.weights)
    write_json(Path("model.json"), result.arguments)

    with torch.inference_mode():
        logits = load_classifier(Path())(torch.from_numpy(prepared.validation.images[:]))
    labels = torch.from_numpy(prepared.validation.labels)

    (epoch,) = result.curve
    assert epoch.validation_accuracy == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert epoch.validation_loss == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)


def test_each_epoch_is_reported_as_it_ends(run: Callable[..., FitResult], make_job: Callable[..., TrainingJob]) -> None:
    seen: list[EpochResult] = []

    result = run(make_job(epochs=3), lambda epoch, _: seen.append(epoch))

    assert tuple(seen) == result.curve
    assert [epoch.epoch for epoch in seen] == [1, 2, 3]
    assert all(epoch.images_per_second > 0 and epoch.seconds > 0 for epoch in seen)


def test_without_validation_images_nothing_is_said_of_them(
    run: Callable[..., FitResult], tiny_job: TrainingJob
) -> None:
    result = run(tiny_job, with_validation=False)

    assert result.curve[0].validation_loss is None
    assert set(result.curve[0].as_metrics()) == {
        "train/loss",
        "train/accuracy",
        "speed/images_per_second",
        "speed/epoch_seconds",
    }


def test_speed_counts_the_images_that_were_trained_on(
    run: Callable[..., FitResult], make_job: Callable[..., TrainingJob], prepared: PreparedData
) -> None:
    result = run(make_job(epochs=1, changes={"recipe.batch_size": 16}), with_validation=False)

    (epoch,) = result.curve
    trained_on = len(prepared.train) // 16 * 16
    assert epoch.images_per_second * epoch.seconds == pytest.approx(trained_on, rel=0.01)


def test_large_batches_leave_a_small_set_more_than_a_step_an_epoch(
    run: Callable[..., FitResult], make_job: Callable[..., TrainingJob], prepared: PreparedData
) -> None:
    assert 32 <= len(prepared.train) < 512

    large, small = (run(make_job(epochs=1, changes={"recipe.batch_size": size})) for size in (512, 16))

    assert large.weights == small.weights


def test_diverging_training_names_the_learning_rate_after_its_epoch_was_seen(
    run: Callable[..., FitResult], make_job: Callable[..., TrainingJob]
) -> None:
    job = make_job("feedforward", epochs=3, changes={"models.feedforward.batch_norm": False})
    recipe = job.recipe.model_copy(update={"lr": HUGE_LR})
    seen: list[EpochResult] = []

    with pytest.raises(TrainingError, match=r"feedforward's loss is (nan|inf) after epoch 1: recipe\.lr \(1e\+30\)"):
        run(TrainingJob(job.model, job.network, recipe, job.augment, 3, 0), lambda epoch, _: seen.append(epoch))

    assert [epoch.epoch for epoch in seen] == [1]


def test_weights_that_are_not_finite_are_never_a_result(
    run: Callable[..., FitResult], make_job: Callable[..., TrainingJob]
) -> None:
    """The checkpoint of an epoch that diverged must not pass as a finished training when the same command goes on."""
    job = make_job("feedforward", epochs=1, changes={"models.feedforward.batch_norm": False})
    job = TrainingJob(job.model, job.network, job.recipe.model_copy(update={"lr": HUGE_LR}), job.augment, 1, 0)
    checkpoint = Path("last.ckpt")
    with pytest.raises(TrainingError):
        run(job, lambda _, save: save(checkpoint))

    with pytest.raises(TrainingError, match=r"recipe\.lr"):
        run(job, resume_from=checkpoint if checkpoint.exists() else None)


def test_bfloat16_trains_and_gives_float32_weights(
    run: Callable[..., FitResult], make_job: Callable[..., TrainingJob]
) -> None:
    result = run(make_job(changes={"recipe.precision": "bf16"}))

    assert result.precision == "bf16-mixed"
    assert {tensor.dtype for tensor in load(result.weights).values()} <= {torch.float32, torch.int64}


def test_weight_decay_leaves_biases_and_norms_alone(
    run: Callable[..., FitResult], make_job: Callable[..., TrainingJob]
) -> None:
    """With a decay that shrinks all it touches to almost nothing, vectors are what they would be without."""
    decayed, plain = (
        load(run(make_job(epochs=1, changes={"recipe.weight_decay": decay, "recipe.lr": 0.1})).weights)
        for decay in (9.0, 0.0)
    )

    scales = [name for name, tensor in plain.items() if tensor.ndim == 1 and name.endswith("weight")]
    matrices = [name for name, tensor in plain.items() if tensor.ndim > 1]
    assert all(decayed[name].abs().mean() > 0.5 for name in scales)
    assert sum(decayed[name].norm() for name in matrices) < 0.9 * sum(plain[name].norm() for name in matrices)


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0.5), (2, 0.25), (5, 0.1), (1, 0.01), (1, 0.99)])
def test_any_warmup_fits_any_number_of_steps(
    run: Callable[..., FitResult], make_job: Callable[..., TrainingJob], epochs: int, warmup: float
) -> None:
    """Of two steps an epoch: a warm-up of exactly one step among them."""
    result = run(make_job(epochs=epochs, changes={"recipe.warmup": warmup}))

    assert len(result.curve) == epochs
