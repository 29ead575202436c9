from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reconv.artifacts import Finding
from reconv.study.findings import find
from reconv.study.measure import Measured

NUM_IMAGES, NUM_SEEDS = 2000, 2
ACCURACY = {
    "base-cnn": 0.93,
    "base-feedforward": 0.9,
    "permuted-cnn": 0.9,
    "permuted-feedforward": 0.9,
    "untied-cnn": 0.85,
    "pooled-cnn": 0.92,
    "matched-feedforward": 0.89,
    "share-0.1-cnn": 0.9,
    "share-0.1-feedforward": 0.8,
}


def measured(**changes: float) -> Measured:
    """As from trainings with these accuracies, `base_cnn=0.9` and so on; most images are hard for all."""
    rng = np.random.default_rng(0)
    hardness = rng.random(NUM_IMAGES)
    accuracy = {**ACCURACY, **{name.replace("_", "-").replace("01", "0.1"): v for name, v in changes.items()}}
    correct = {
        f"{name}-{seed}": hardness + rng.normal(0, 0.02, NUM_IMAGES) < value
        for name, value in accuracy.items()
        for seed in range(NUM_SEEDS)
    }
    parameters = {"untied": 500, "matched": 98}
    trainings = [
        {
            "variant": name.rsplit("-", 2)[0],
            "by_share": name.startswith(("base", "share")),
            "model": name.rsplit("-", 2)[1],
            "seed": int(name[-1]),
            "parameters": parameters.get(name.split("-")[0], 100),
            "images": 100 if "share" in name or "untied" in name else 1000,
            "accuracy": right.mean(),
        }
        for name, right in correct.items()
    ]
    shifts = [
        {"variant": variant, "model": model, "seed": 0, "pixels": pixels, "accuracy": 0.9 - loss * pixels}
        for variant, model, loss in (("base", "cnn", 0.1), ("pooled", "cnn", 0.05), ("base", "feedforward", 0.15))
        for pixels in range(5)
    ]
    corruptions = [
        {"corruption": name, "severity": severity, "model": model, "seed": 0, "accuracy": value}
        for model, values in (("cnn", (0.93, 0.8, 0.6)), ("feedforward", (0.9, 0.6, 0.8)))
        for name, severity, value in zip(("none", "JPEG", "rotation"), (0, 1, 1), values, strict=True)
    ]

    def names_of(row: dict[str, Any]) -> list[str]:
        return [f"{row.get('variant', 'base')}-{row['model']}-{seed}" for seed in range(NUM_SEEDS)]

    def right(value: float) -> np.ndarray:
        return (hardness + rng.normal(0, 0.02, NUM_IMAGES) < value).astype(float)

    sizes = [
        {"model": model, "pixels": pixels, "channels": 1, "parameters": count, "multiply_adds": 10 * count}
        for model, counts in (("cnn", (100, 300)), ("feedforward", (200, 20_000)))
        for pixels, count in zip((16, 224), counts, strict=True)
    ]
    return Measured(
        *map(pd.DataFrame, (trainings, shifts, corruptions, sizes)),
        correct,
        {(name, row["pixels"]): right(row["accuracy"]) for row in shifts for name in names_of(row)},
        {(name, row["corruption"]): right(row["accuracy"]) for row in corruptions for name in names_of(row)},
    )


def finding(name: str, of: Measured) -> Finding:
    (one,) = (one for one in find(of, (0.1,)) if one.name == name)
    return one


def test_every_experiment_has_its_sentence() -> None:
    names = [one.name for one in find(measured(), (0.1,))]

    assert names == ["space", "same_size", "sharing", "shifts", "size", "data", "corruptions"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Nothing of it is left that can be told from 0"),
        ({"permuted_cnn": 0.85}, "Then it is the worse one"),
        ({"permuted_cnn": 0.92}, "% of it came from where pixels lie in the image; the rest did not"),
        ({"permuted_cnn": 0.95}, "None of it came from where pixels lie"),
        ({"base_cnn": 0.9}, "There was no lead to begin with"),
        ({"base_cnn": 0.8}, "There was no lead to begin with"),
    ],
)
def test_what_is_left_of_the_lead_without_places(changes: dict[str, float], words: str) -> None:
    assert words in finding("space", measured(**changes)).text


@pytest.mark.parametrize(
    ("accuracy", "words"), [(0.89, "does not explain its lead"), (0.935, "no lead"), (0.96, "no lead")]
)
def test_whether_size_explains_the_lead(accuracy: float, words: str) -> None:
    text = finding("same_size", measured(matched_feedforward=accuracy)).text

    assert words in text
    assert "98 parameters, where the CNN has 100" in text


@pytest.mark.parametrize(
    ("accuracy", "word"), [(0.85, "helps"), (0.9, "no difference that shows"), (0.95, "costs accuracy")]
)
def test_what_sharing_filters_brings(accuracy: float, word: str) -> None:
    text = finding("sharing", measured(untied_cnn=accuracy)).text

    assert word in text
    assert "500 parameters instead of 100 (5.0 times as many)" in text


def test_shifts_are_told_at_half_of_the_way() -> None:
    text = finding("shifts", measured()).text

    assert "shifted by 2 pixels" in text
    for value in ("80.0%", "70.0%", "60.0%", "more tolerant of shifts with it"):
        assert value in text


def test_growth_is_from_the_smallest_to_the_largest_image() -> None:
    text = finding("size", measured()).text

    for part in ("From 16 to 224", "100 to 300 parameters (3 times)", "200 to 20,000 (100 times)"):
        assert part in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"share_01_cnn": 0.92}, "With 10% of the images the CNN is better than"),
        ({"share_01_cnn": 0.8}, "With 100% of the images the CNN is better than"),
        ({"share_01_cnn": 0.9, "base_cnn": 0.9}, "Even with 100% of the images the CNN is not told apart from"),
        ({"share_01_cnn": 0.8, "base_cnn": 0.85}, "Even with 100% of the images the CNN is worse than"),
    ],
)
def test_how_many_images_the_cnn_needs(changes: dict[str, float], words: str) -> None:
    assert words in finding("data", measured(**changes)).text


def test_the_corruption_error_is_relative_to_the_feedforward_networks() -> None:
    one = finding("corruptions", measured())

    assert one.numbers["mean_corruption_error"] == pytest.approx((0.2 / 0.4 + 0.4 / 0.2) / 2)
    assert one.numbers["mean_corruption_error_low"] < 1.25 < one.numbers["mean_corruption_error_high"]
    assert "errs less on 1 of them and more on 1" in one.text
    assert "smallest in comparison on JPEG (50%) and largest on rotation (200%)" in one.text


def test_a_network_without_untied_variant_has_no_such_finding() -> None:
    of = measured()
    rows = of.trainings[of.trainings["variant"] != "untied"]

    names = [one.name for one in find(replace(of, trainings=rows), (0.1,))]

    assert "sharing" not in names


def of_torchvision(**accuracy: float) -> Measured:
    """As of a network of torchvision's: without what only the own CNN has, with the same network not pretrained."""
    of = measured(scratch_cnn=0.9, **accuracy)
    rows, shifts = (table[~table["variant"].isin(["untied", "pooled"])] for table in (of.trainings, of.shifts))
    return replace(of, trainings=rows, shifts=shifts)


def test_what_a_network_of_torchvisions_cannot_be_asked_is_said() -> None:
    found = {one.name: one for one in find(of_torchvision(), (0.1,))}

    assert list(found) == ["space", "same_size", "pretraining", "shifts", "size", "data", "corruptions", "left_out"]
    assert "two experiments were left out" in found["left_out"].text
    assert "the CNN is right on 70.0%, the feed-forward network on 60.0%" in found["shifts"].text
    assert "ooling" not in found["shifts"].title + found["shifts"].text


@pytest.mark.parametrize(
    ("feedforward", "words"), [(0.85, "it is still better"), (0.9, "neither is better"), (0.95, "it is worse")]
)
def test_what_pretraining_brings(feedforward: float, words: str) -> None:
    text = finding("pretraining", of_torchvision(base_feedforward=feedforward)).text

    assert "pretraining makes +3." in text
    assert words in text


CLAIMS = ("helps", "costs accuracy", "of shifts with it", "better than", "worse than", "errs more", "errs less in")


def test_where_nothing_is_there_hardly_any_study_claims_something() -> None:
    """Trainings that differ by 0.3 points and nothing else; with separate intervals 18 of 100 claim something."""
    said = [" ".join(one.text for one in find(nothing_there(seed), (0.1,))) for seed in range(60)]
    assert sum(any(claim in text for claim in CLAIMS) for text in said) <= 6  # 5 % of them are 3


def nothing_there(seed: int) -> Measured:
    """As from trainings of networks that are all alike."""
    rng = np.random.default_rng(seed)
    of = measured()
    hardness = rng.normal(0, 3, NUM_IMAGES)

    def right() -> np.ndarray:
        return hardness + rng.normal(0, 1.1, NUM_IMAGES) + rng.normal(0, 0.06) > -4.2

    correct = {name: right() for name in of.correct}
    shifted = {key: right().astype(float) for key in of.shifted}
    corrupted = {key: right().astype(float) for key in of.corrupted}
    corruptions = pd.DataFrame(
        {"corruption": what, "severity": 1, "model": name.split("-")[1], "seed": 0, "accuracy": right_N.mean()}
        for (name, what), right_N in corrupted.items()
    )
    return replace(of, correct=correct, shifted=shifted, corrupted=corrupted, corruptions=corruptions)
