"""A small made-up outcome of both models, with class names that a careless page or table would trip over."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from reconv.artifacts import (
    Answer,
    Budget,
    ClassDifference,
    Compute,
    Condition,
    DataFinding,
    DataPicture,
    DataReport,
    Explanation,
    Finding,
    FirstFilter,
    Guessing,
    Interval,
    LabelCheck,
    Layer,
    Manifest,
    Metrics,
    Score,
    Study,
    Suspect,
    TrainingCost,
    Verdict,
)
from reconv.params import ReportParams
from reconv.report.page import Contents

MODELS = ("cnn", "feedforward")
CLASS_NAMES = ("<script>x", 'a & <b>"b"</b>', "plain")


@pytest.fixture
def verdict(make_budget: Callable[..., Budget]) -> Verdict:
    return Verdict(
        accuracy={"cnn": 0.912, "feedforward": 0.856},
        accuracy_interval={"cnn": Interval(low=0.9, high=0.92), "feedforward": Interval(low=0.84, high=0.87)},
        difference=0.056,
        difference_interval=Interval(low=0.04, high=0.07),
        confidence=0.95,
        p_value=1e-12,
        detectable_difference=0.012,
        power=0.8,
        probability_of_cnn=1.0,
        classes=tuple(
            ClassDifference(
                name=name,
                num_images=7,
                difference=difference,
                interval=Interval(low=difference - 0.03, high=difference + 0.03),
                adjusted_p_value=p_value,
            )
            for name, difference, p_value in zip(CLASS_NAMES, (0.08, 0.05, -0.01), (1e-7, 0.021, 0.8), strict=True)
        ),
        audit=(Condition(name="lr", cnn="0.01", feedforward="0.02", is_own=True),),
        budgets={model: make_budget(spent_epochs=24 - index, budget_epochs=24) for index, model in enumerate(MODELS)},
        notes=("Only 21 test images: only large differences can be seen.",),
        winner="cnn",
        text="The CNN is worth it here: +5.6 points <of accuracy>.",
        why="71% of its lead disappears.",
        compute={
            "cnn": Compute(
                search_device_seconds=100.0, training_device_seconds=140.0, search_flops=2e12, training_flops=3e12
            ),
            "feedforward": Compute(
                search_device_seconds=60.0, training_device_seconds=60.0, search_flops=1e12, training_flops=1e12
            ),
        },
        guessing=Guessing(
            class_name="plain",
            accuracy=0.4,
            over={"cnn": Interval(low=0.5, high=0.52), "feedforward": Interval(low=0.44, high=0.47)},
            no_better=(),
            text="",
        ),
    )


@pytest.fixture
def metrics() -> dict[str, Metrics]:
    return {
        model: Metrics(
            accuracy=Score(mean=accuracy, std=0.01, seeds=(accuracy, accuracy)),
            nll=Score(mean=0.25, std=0.0, seeds=(0.25, 0.25)),
            ece=Score(mean=0.02, std=0.0, seeds=(0.02, 0.02)),
            temperature=Score(mean=0.87, std=0.0, seeds=(0.87, 0.87)),
            scaled_nll=Score(mean=0.24, std=0.0, seeds=(0.24, 0.24)),
            scaled_ece=Score(mean=0.0123, std=0.0, seeds=(0.0123, 0.0123)),
            scaled_ece_by_chance=0.0045,
            labels=LabelCheck(
                num_images=30, doubted=2, expected=0.6, expected_low=0, expected_high=2, listed=2, listed_expected=0.2
            ),
            accuracy_per_class=dict.fromkeys(CLASS_NAMES, accuracy),
            num_parameters=parameters,
            multiply_adds=1_000_000,
            latency_ms={"1": 0.5, "256": 20.0},
            device_seconds=42.0,
            evaluation_device_seconds=3.0,
            evaluation_energy=None,
        )
        for model, accuracy, parameters in (("cnn", 0.912, 123_456), ("feedforward", 0.856, 654_321))
    }


@pytest.fixture
def tables() -> dict[str, pd.DataFrame]:
    """curves, trials, calibration and confusion of one model."""
    return {
        "curves": pd.DataFrame(
            {
                "seed": [0, 0, 1, 1],
                "epoch": [1, 2, 1, 2],
                "train/loss": [1.0, 0.5, 1.1, 0.6],
                "train/accuracy": [0.5, 0.8, 0.4, 0.7],
                "validation/accuracy": [0.5, 0.7, 0.4, 0.6],
            }
        ),
        "trials": pd.DataFrame(
            {"trial": [1, 2], "epochs": [1, 4], "status": ["stopped", "finished"], "validation/accuracy": [0.6, 0.9]}
        ),
        "calibration": pd.DataFrame(
            {
                "bin": [9, 14, 14],
                "images": [10, 32, 42],
                "confidence": [0.63, 0.95, 0.9],
                "accuracy": [0.7, 0.97, 0.9],
                "state": ["before", "before", "after"],
            }
        ),
        "confusion": pd.DataFrame(
            {"actual": [*CLASS_NAMES, CLASS_NAMES[0]], "predicted": [*CLASS_NAMES, CLASS_NAMES[1]]}
        ),
    }


@pytest.fixture
def described(manifest: Manifest) -> Manifest:
    """Of the images with these classes."""
    return manifest.model_copy(update={"class_names": CLASS_NAMES, "source": "folder:<images>"})


@pytest.fixture
def data_report() -> DataReport:
    return DataReport(
        images_per_class={split: dict.fromkeys(CLASS_NAMES, 7) for split in ("train", "validation", "test")},
        findings=(
            DataFinding(
                kind="unusable",
                severity="warning",
                count=3,
                text="3 files <of 63>.",
                files=("a/\\n<b>.png has 0 bytes",),
                pictures=(),
            ),
            DataFinding(
                kind="look-alikes",
                severity="warning",
                count=2,
                text="1 pairs look <alike>.",
                files=("a/<1>.png", "b/2.png"),
                pictures=(
                    DataPicture(split="train", index=3, caption="a/<1>.png"),
                    DataPicture(split="train", index=5, caption="b/2.png"),
                ),
            ),
        ),
    )


@pytest.fixture
def cost() -> TrainingCost:
    """Of one model: two seeds of 42 s."""
    return TrainingCost(
        device_seconds=(42.0, 42.0),
        energy=None,
        wall_seconds=84.0,
        images_per_second=100.0,
        device="cpu",
        precision="32-true",
    )


@pytest.fixture
def study() -> Study:
    names = ("space", "same_size", "shifts", "size", "data", "corruptions")
    return Study(
        enabled=True,
        profile="default",
        num_seeds=2,
        max_epochs=4,
        confidence=0.95,
        findings=tuple(
            Finding(name=name, title=f"Title of {name}", text=f"What {name} <showed>.", numbers={"lead": 0.01})
            for name in names
        ),
        device_seconds=300.0,
        energy=None,
    )


@pytest.fixture
def study_tables() -> dict[str, pd.DataFrame]:
    """Each with both models, as the stage writes them."""
    models = pd.DataFrame({"model": MODELS, "seed": 0, "accuracy": [0.9, 0.8]})

    def for_each(**values: list[object]) -> pd.DataFrame:
        return models.merge(pd.DataFrame(values), how="cross")

    return {
        "trainings": for_each(
            variant=["base", "permuted", "share-0.1"],
            by_share=[True, False, True],
            images=[100, 100, 10],
            parameters=[5, 5, 5],
        ),
        "shifts": for_each(variant=["base"] * 3, pixels=[0, 1, 2]),
        "corruptions": for_each(corruption=["none", "JPEG", "JPEG"], severity=[0, 1, 2]),
        "sizes": for_each(
            pixels=[16, 32], channels=[1, 3], parameters=[10, 20], multiply_adds=[100, 200], step_ms=[1.5, None]
        ),
    }


@pytest.fixture
def explanation() -> Explanation:
    return Explanation(
        filters=tuple(
            FirstFilter(label=label, likeness=0.9, orientation_selectivity=0.4) for label in ("edge", "corner", "edge")
        ),
        sobel_correlation=0.87,
        layers=tuple(Layer(sees=sees, num_channels=5, share_of_one_class=0.5) for sees in (3, 7)),
        share_by_chance=0.4,
        answers=tuple(
            Answer(image=index, actual=CLASS_NAMES[0], predicted=CLASS_NAMES[index % 2], confidence=0.9)
            for index in range(6)
        ),
        mistakes=tuple(
            Answer(image=index, actual=CLASS_NAMES[0], predicted=CLASS_NAMES[1], confidence=0.99) for index in range(5)
        ),
        suspects=(
            Suspect(file="a/<1>.png", label=CLASS_NAMES[0], suggested=CLASS_NAMES[1], confidence=0.97),
            Suspect(file="b/2.png", label=CLASS_NAMES[1], suggested=CLASS_NAMES[2], confidence=0.91),
        ),
        num_suspects=1234,
        text="Of its 3 first filters, 2 are edges.",
    )


@pytest.fixture
def pictures() -> dict[str, np.ndarray]:
    """Of the explanation, as the stage writes them."""
    rng = np.random.default_rng(0)
    return {
        "filters": rng.normal(size=(3, 1, 3, 3)).astype(np.float32),
        "images": rng.integers(0, 256, (4, 8, 8, 1), dtype=np.uint8),
        "edges": rng.random((4, 8, 8)),
        "sobel": rng.random((4, 8, 8)),
        "patches-1": rng.integers(0, 256, (2, 6, 3, 3, 1), dtype=np.uint8),
        "patches-2": rng.integers(0, 256, (2, 6, 7, 7, 1), dtype=np.uint8),
        "answers": rng.integers(0, 256, (6, 8, 8, 1), dtype=np.uint8),
        "cams": rng.random((6, 8, 8), dtype=np.float32),
        "mistakes": rng.integers(0, 256, (5, 8, 8, 1), dtype=np.uint8),
        "suspects": rng.integers(0, 256, (2, 8, 8, 1), dtype=np.uint8),
    }


@pytest.fixture
def report_params() -> ReportParams:
    return ReportParams(price_per_device_hour=3.6, currency="EUR", watts_per_device=36.0)


@pytest.fixture
def contents(
    verdict: Verdict,
    metrics: dict[str, Metrics],
    tables: dict[str, pd.DataFrame],
    described: Manifest,
    data_report: DataReport,
    cost: TrainingCost,
    study: Study,
    study_tables: dict[str, pd.DataFrame],
    explanation: Explanation,
    pictures: dict[str, np.ndarray],
) -> Contents:
    return Contents(
        verdict=verdict,
        metrics=metrics,
        curves=dict.fromkeys(MODELS, tables["curves"]),
        trials=dict.fromkeys(MODELS, tables["trials"]),
        confusion=dict.fromkeys(MODELS, tables["confusion"]),
        calibration=dict.fromkeys(MODELS, tables["calibration"]),
        costs=dict.fromkeys(MODELS, cost),
        study=study,
        study_tables=study_tables,
        explanation=explanation,
        pictures=pictures,
        manifest=described,
        data_report=data_report,
        data_pictures={"look-alikes": np.zeros((2, 8, 8, 1), np.uint8)},
        commit="0123abc",
    )
