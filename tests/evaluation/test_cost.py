import pytest
import torch

from reconv.artifacts import Manifest
from reconv.evaluation.cost import count_multiply_adds, latency_ms
from reconv.models.classifier import ImageClassifier, new_classifier
from reconv.models.size import count_parameters
from reconv.params import CnnParams, FeedforwardParams

# Images are 8 x 8 x 1 of three classes.
FEEDFORWARD = FeedforwardParams(widths=(10,), batch_norm=False, dropout=0.0)
CNN = CnnParams(
    widths=(4,), convolutions=1, kernel_size=3, pooling="max", batch_norm=False, whitened=False,
    shared_weights=True, residual=False,
    head="flatten", hidden=0, dropout=0.0,
)  # fmt: skip


@pytest.fixture
def feedforward(manifest: Manifest) -> ImageClassifier:
    return new_classifier("feedforward", FEEDFORWARD, manifest).eval()


def test_feedforward_by_hand(feedforward: ImageClassifier) -> None:
    assert count_parameters(feedforward) == (64 * 10 + 10) + (10 * 3 + 3)
    assert count_multiply_adds(feedforward) == 64 * 10 + 10 * 3


@pytest.mark.parametrize(
    ("changes", "parameters", "multiply_adds"),
    [
        ({}, (9 * 4 + 4) + (4 * 16 * 3 + 3), 64 * 9 * 4 + 4 * 16 * 3),
        ({"pooling": "strided"}, (9 * 4 + 4) + (4 * 16 * 3 + 3), 16 * 9 * 4 + 4 * 16 * 3),
        ({"batch_norm": True}, (9 * 4 + 2 * 4) + (4 * 16 * 3 + 3), 64 * 9 * 4 + 4 * 16 * 3),
        ({"residual": True}, (9 * 4 + 4) + 4 + (4 * 16 * 3 + 3), 64 * 9 * 4 + 64 * 4 + 4 * 16 * 3),
        ({"head": "average"}, (9 * 4 + 4) + (4 * 3 + 3), 64 * 9 * 4 + 4 * 3),
    ],
    ids=str,
)
def test_cnn_by_hand(manifest: Manifest, changes: dict[str, object], parameters: int, multiply_adds: int) -> None:
    cnn = new_classifier("cnn", CNN.model_copy(update=changes), manifest).eval()

    assert count_parameters(cnn) == parameters
    assert count_multiply_adds(cnn) == multiply_adds


def test_latency_is_positive_and_grows_with_the_batch(feedforward: ImageClassifier) -> None:
    device = torch.device("cpu")

    assert 0 < latency_ms(feedforward, 1, device) < latency_ms(feedforward, 50_000, device)
