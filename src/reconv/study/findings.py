"""The study's tables -> one sentence per experiment, drawn from the numbers whichever way they point."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from reconv.artifacts import Finding, Interval
from reconv.evaluation.statistics import error_of_difference, t_interval
from reconv.places import BASELINE, CNN
from reconv.study.measure import Correct, Measured
from reconv.study.plan import BASE, MATCHED, PERMUTED, POOLED, SCRATCH, UNPOOLED, UNTIED, parse, share_variant

CONFIDENCE = 0.95
_SAME_POINTS = 0.01
"""Accuracies of shifted images that differ by less are called the same."""

_LEFT_OUT = Finding(
    name="left_out",
    title="What was left out",
    text="The CNN is a network of torchvision's, so that two experiments were left out: filters of its own at every "
    "position, and pooling instead of strided convolutions or the reverse. Only reconv's own CNN has values for them.",
    numbers={},
)


def find(measured: Measured, shares: tuple[float, ...]) -> tuple[Finding, ...]:
    """In the order in which the report shows them."""
    return tuple(_findings(measured, shares))


def _findings(measured: Measured, shares: tuple[float, ...]) -> Iterator[Finding]:
    leads = _Leads(measured.correct)
    yield _space(leads)
    yield _same_size(measured.trainings, leads)
    if (measured.trainings["variant"] == UNTIED).any():
        yield _sharing(measured.trainings, leads)
    if (measured.trainings["variant"] == SCRATCH).any():
        yield _pretraining(leads)
    yield _shifts(measured.shifts)
    yield _size(measured.sizes)
    yield _data(measured.trainings, leads, shares)
    yield _corruptions(measured.corruptions)
    if not measured.trainings["variant"].isin((POOLED, UNPOOLED)).any():
        yield _LEFT_OUT


class _Leads:
    """Differences in accuracy between two kinds of trainings, with their intervals."""

    def __init__(self, correct: Mapping[str, Correct]) -> None:
        self._correct = correct

    def between(self, first: tuple[str, str], second: tuple[str, str]) -> tuple[float, Interval]:
        first_SN, second_SN = self._of(*first), self._of(*second)
        difference = float(first_SN.mean() - second_SN.mean())
        return difference, t_interval(difference, error_of_difference(first_SN, second_SN), CONFIDENCE)

    def of_cnn(self, variant: str) -> tuple[float, Interval]:
        return self.between((variant, CNN), (variant, BASELINE))

    def _of(self, variant: str, model: str) -> Correct:
        rows = [right for name, right in self._correct.items() if parse(name)[:2] == (variant, model)]
        return np.stack(rows)


def _points(difference: float, within: Interval | None = None) -> str:
    text = f"{difference * 100:+.1f} points"
    return text if within is None else f"{text} [{within.low * 100:+.1f}, {within.high * 100:+.1f}]"


def _space(leads: _Leads) -> Finding:
    lead, of_lead = leads.of_cnn(BASE)
    permuted, of_permuted = leads.of_cnn(PERMUTED)
    changes = {model: leads.between((PERMUTED, model), (BASE, model)) for model in (CNN, BASELINE)}
    numbers = {"lead": lead, "permuted_lead": permuted}
    text = (
        "The pixels of all images in one fixed random order, in training and in test: this changes the CNN's accuracy "
        f"by {_points(*changes[CNN])} and the feed-forward network's by {_points(*changes[BASELINE])}. The CNN's lead "
        f"goes from {_points(lead, of_lead)} to {_points(permuted, of_permuted)}. "
    )
    if of_lead.low <= 0:
        text += "There was no lead to begin with, so that there is nothing to explain."
    elif of_permuted.low > 0:
        numbers["share_lost"] = 1 - permuted / lead
        text += (
            f"{1 - permuted / lead:.0%} of it came from where pixels lie in the image; the rest did not."
            if permuted < lead
            else "None of it came from where pixels lie in the image."
        )
    else:
        numbers["share_lost"] = 1 - permuted / lead
        left = "Then it is the worse one" if of_permuted.high < 0 else "Nothing of it is left that can be told from 0"
        text += f"{left}: its lead came from where pixels lie in the image."
    return Finding(name="space", title="Pixels depend on each other in space", text=text, numbers=numbers)


def _same_size(trainings: pd.DataFrame, leads: _Leads) -> Finding:
    lead, within = leads.between((BASE, CNN), (MATCHED, BASELINE))
    parameters = _parameters(trainings, BASE, CNN)
    matched = _parameters(trainings, MATCHED, BASELINE)
    text = (
        f"A feed-forward network with {matched:,} parameters, where the CNN has {parameters:,}, trained with the CNN's "
        f"recipe: the CNN makes {_points(lead, within)}. "
    )
    if abs(matched / parameters - 1) > 0.1:
        text += (
            "No feed-forward network of these layers comes within 10 % of the CNN's size, so that this shows little."
        )
    elif within.low > 0:
        text += "The number of parameters does not explain its lead."
    else:
        text += "At the same size it has no lead."
    numbers = {"lead": lead, "parameters": parameters, "matched_parameters": matched}
    return Finding(name="same_size", title="The same number of parameters", text=text, numbers=numbers)


def _sharing(trainings: pd.DataFrame, leads: _Leads) -> Finding:
    of_cnn = trainings[trainings["model"] == CNN]
    images = int(of_cnn.loc[of_cnn["variant"] == UNTIED, "images"].iloc[0])
    same = str(of_cnn.loc[(of_cnn["images"] == images) & of_cnn["by_share"], "variant"].iloc[0])
    gain, within = leads.between((same, CNN), (UNTIED, CNN))
    shared, untied = _parameters(trainings, same, CNN), _parameters(trainings, UNTIED, CNN)
    helps = "helps" if within.low > 0 else "costs accuracy" if within.high < 0 else "makes no difference that shows"
    text = (
        f"With filters of its own at every position the same network has {untied:,} parameters instead of {shared:,} "
        f"({untied / shared:.1f} times as many). On {images:,} training images, sharing one set of filters makes "
        f"{_points(gain, within)}: it {helps} here."
    )
    numbers = {"gain": gain, "shared_parameters": shared, "untied_parameters": untied, "images": images}
    return Finding(name="sharing", title="The same filters everywhere", text=text, numbers=numbers)


def _pretraining(leads: _Leads) -> Finding:
    gain, within = leads.between((BASE, CNN), (SCRATCH, CNN))
    lead, of_lead = leads.between((SCRATCH, CNN), (BASE, BASELINE))
    left = "it is still better" if of_lead.low > 0 else "it is worse" if of_lead.high < 0 else "neither is better"
    text = (
        f"The same network from random first weights, all of which learn from the first epoch on: pretraining makes "
        f"{_points(gain, within)} after as many epochs. Without it the CNN's difference to the feed-forward network is "
        f"{_points(lead, of_lead)}: {left}."
    )
    return Finding(name="pretraining", title="Pretrained weights", text=text, numbers={"gain": gain, "lead": lead})


def _shifts(shifts: pd.DataFrame) -> Finding:
    far = int(shifts["pixels"].max())
    middle = (far + 1) // 2
    means = shifts.groupby(["model", "variant", "pixels"])["accuracy"].mean()
    variants = [variant for variant in means[CNN].index.unique("variant") if variant != BASE]
    base, feedforward = float(means[CNN, BASE, middle]), float(means[BASELINE, BASE, middle])
    shifted = f"Test images shifted by {middle} pixel{'' if middle == 1 else 's'}: the CNN"
    numbers = {"feedforward": feedforward, "pixels": float(middle)}
    if not variants:
        text = f"{shifted} is right on {base:.1%}, the feed-forward network on {feedforward:.1%}."
        return Finding(name="shifts", title="Shifted images", text=text, numbers={"cnn": base, **numbers})
    other = float(means[CNN, variants[0], middle])
    pooled, strided = (other, base) if variants[0] == POOLED else (base, other)
    same = abs(pooled - strided) < _SAME_POINTS
    effect = "no difference to" if same else f"it {'more' if pooled > strided else 'less'} tolerant of"
    text = (
        f"{shifted} with pooling is right on {pooled:.1%}, with strided "
        f"convolutions instead on {strided:.1%}, the feed-forward network on {feedforward:.1%}. Pooling makes {effect} "
        "shifts here."
    )
    numbers = {"pooled": pooled, "strided": strided, **numbers}
    return Finding(name="shifts", title="Pooling and shifted images", text=text, numbers=numbers)


def _size(sizes: pd.DataFrame) -> Finding:
    grey = sizes[sizes["channels"] == 1]
    small, large = int(grey["pixels"].min()), int(grey["pixels"].max())
    table = grey.set_index(["model", "pixels"])
    counts = {m: (int(table["parameters"][m, small]), int(table["parameters"][m, large])) for m in (CNN, BASELINE)}
    growth = {model: after / before for model, (before, after) in counts.items()}
    adds = {model: table["multiply_adds"][model, large] for model in (CNN, BASELINE)}
    text = (
        f"From {small} to {large} pixels a side the CNN goes from {counts[CNN][0]:,} to {counts[CNN][1]:,} parameters "
        f"({growth[CNN]:.0f} times), the feed-forward network from {counts[BASELINE][0]:,} to {counts[BASELINE][1]:,} "
        f"({growth[BASELINE]:.0f} times). At {large} pixels an image takes the CNN "
        f"{adds[CNN] / adds[BASELINE]:.1f} times the multiply-adds of the other."
    )
    numbers = {"cnn_growth": growth[CNN], "feedforward_growth": growth[BASELINE]}
    return Finding(name="size", title="Larger images", text=text, numbers=numbers)


def _data(trainings: pd.DataFrame, leads: _Leads, shares: tuple[float, ...]) -> Finding:
    variants = {**{share: share_variant(share) for share in sorted(shares)}, 1.0: BASE}
    by_share = {share: leads.of_cnn(variant) for share, variant in variants.items()}
    means = trainings.groupby(["model", "variant"])["accuracy"].mean()
    listed = ", ".join(f"{share:.0%}: {_points(lead, within)}" for share, (lead, within) in by_share.items())
    text = f"The CNN's difference to the feed-forward network by share of the training images: {listed}. "
    enough = [share for share, variant in variants.items() if means[CNN, variant] >= means[BASELINE, BASE]]
    if enough and enough[0] < 1:
        text += f"With {enough[0]:.0%} of the images the CNN is as good as the feed-forward network with all of them."
    elif not enough:
        text += "With all of them it is not as good as the feed-forward network."
    else:
        text += "With fewer images it is not as good as the feed-forward network with all of them."
    numbers = {f"lead_{share:g}": lead for share, (lead, _) in by_share.items()}
    return Finding(name="data", title="Fewer training images", text=text, numbers=numbers)


def _corruptions(corruptions: pd.DataFrame) -> Finding:
    errors = 1 - corruptions.groupby(["model", "corruption"])["accuracy"].mean().drop("none", level="corruption")
    relative = errors[CNN] / errors[BASELINE].clip(lower=1e-9)
    mean = float(relative.mean())
    better = int((relative < 1).sum())
    text = (
        f"Over {len(relative)} corruptions at five severities, the CNN's mean corruption error is {mean:.0%} of the "
        f"feed-forward network's; it errs less on {better} of them, least in comparison on {relative.idxmin()} "
        f"({relative.min():.0%}), most on {relative.idxmax()} ({relative.max():.0%})."
    )
    numbers = {"mean_corruption_error": mean, "better": float(better)}
    return Finding(name="corruptions", title="Corrupted images", text=text, numbers=numbers)


def _parameters(trainings: pd.DataFrame, variant: str, model: str) -> int:
    of_kind = trainings[(trainings["variant"] == variant) & (trainings["model"] == model)]
    return int(of_kind["parameters"].iloc[0])
