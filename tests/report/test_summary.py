import pytest

from reconv.artifacts import Metrics, Registration, TrainingCost, Verdict
from reconv.report.summary import half_width, summary


@pytest.fixture
def registration() -> Registration:
    return Registration(
        name="flowers",
        version=3,
        alias="champion",
        model="cnn",
        seed=0,
        run_id="abc",
        reason="its interval excludes 0",
        contest=None,
        replaced=None,
    )


def cost(device: str) -> TrainingCost:
    return TrainingCost(
        device_seconds=(42.0,),
        energy=None,
        wall_seconds=42.0,
        images_per_second=100.0,
        device=device,
        precision="32-true",
    )


@pytest.mark.parametrize(("device", "shown"), [("cpu", "on one core"), ("NVIDIA H200", "on one NVIDIA H200")])
def test_the_end_of_a_run_in_one_table(
    verdict: Verdict, metrics: dict[str, Metrics], registration: Registration, device: str, shown: str
) -> None:
    costs = dict.fromkeys(metrics, cost(device))

    lines = [" ".join(line.split()) for line in summary(verdict, metrics, costs, registration).splitlines()]

    assert lines[1:] == [
        "cnn feedforward",
        "accuracy 91.2% ± 1.0 85.6% ± 1.5 difference +5.6 points, 95% interval [+4.0, +7.0]",
        "guessing 40.0% 40.0% always answering “plain”",
        "parameters 123,456 654,321",
        f"training 42 s 42 s per seed, {shown}",
        "device time 240 s 120 s of search and final training: 2.0 times as much for the CNN",
        "FLOPs 5e+12 2e+12 of search and final training: 2.5 times as much for the CNN",
        f"verdict {verdict.text}",
        "why 71% of its lead disappears.",
        "registered flowers version 3, alias champion: its interval excludes 0",
        "look results/compare/report.html · make ui (MLflow) · dvc plots show",
    ]


def test_half_width_is_of_the_interval(verdict: Verdict) -> None:
    assert half_width(verdict, "feedforward") == pytest.approx(0.015)
