"""The study's tables -> one sentence per experiment, drawn from the numbers whichever way they point.

A sentence says which way only where the interval does. The intervals are simultaneous: where nothing is there, any of
them excludes 0 in at most 5 of 100 studies (Bonferroni, over as many intervals as the findings give).
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from reconv.artifacts import Finding, Interval
from reconv.evaluation.statistics import Error, error_of_difference, t_interval
from reconv.places import BASELINE, CNN
from reconv.study.measure import Correct, Measured, Shares
from reconv.study.plan import BASE, MATCHED, PERMUTED, POOLED, SCRATCH, UNPOOLED, UNTIED, parse, share_variant

CONFIDENCE = 0.95
_LEFT_OUT = Finding(
    name="left_out",
    title="What was left out",
    text="The CNN is a network of torchvision's, so that two experiments were left out: filters of its own at every "
    "position, and pooling instead of strided convolutions or the reverse. Only reconv's own CNN has values for them.",
    numbers={},
)


def find(measured: Measured, shares: tuple[float, ...]) -> tuple[Finding, ...]:
    """In the order in which the report shows them."""
    counted = _Leads(measured.correct, CONFIDENCE)
    for _ in _findings(measured, counted, shares):
        pass
    simultaneous = 1 - (1 - CONFIDENCE) / max(1, counted.num_intervals)
    return tuple(_findings(measured, _Leads(measured.correct, simultaneous), shares))


def _findings(measured: Measured, leads: "_Leads", shares: tuple[float, ...]) -> Iterator[Finding]:
    yield _space(leads)
    yield _same_size(measured.trainings, leads)
    if (measured.trainings["variant"] == UNTIED).any():
        yield _sharing(measured.trainings, leads)
    if (measured.trainings["variant"] == SCRATCH).any():
        yield _pretraining(leads)
    yield _shifts(measured, leads)
    yield _size(measured.sizes)
    yield _data(measured.trainings, leads, shares)
    yield _corruptions(measured, leads)
    if not measured.trainings["variant"].isin((POOLED, UNPOOLED)).any():
        yield _LEFT_OUT


class _Leads:
    """Differences in accuracy between two kinds of trainings, with their intervals, which are counted."""

    def __init__(self, correct: Mapping[str, Correct], confidence: float) -> None:
        self._correct = correct
        self._confidence = confidence
        self.num_intervals = 0

    def between(self, first: tuple[str, str], second: tuple[str, str]) -> tuple[float, Interval]:
        return self.of(self._of(*first), self._of(*second))

    def of(self, first_SN: Shares, second_SN: Shares) -> tuple[float, Interval]:
        """Return the difference between the means over seeds and images."""
        difference = float(first_SN.mean() - second_SN.mean())
        return difference, self.around(difference, error_of_difference(first_SN, second_SN))

    def around(self, difference: float, error: Error) -> Interval:
        self.num_intervals += 1
        return t_interval(difference, error, self._confidence)

    def of_cnn(self, variant: str) -> tuple[float, Interval]:
        return self.between((variant, CNN), (variant, BASELINE))

    def _of(self, variant: str, model: str) -> Shares:
        return _stacked(self._correct, variant, model)


def _stacked(by_name: Mapping[str, Correct] | Mapping[str, Shares], variant: str, model: str) -> Shares:
    """Return a row (N,) per seed."""
    return np.stack([right.astype(float) for name, right in by_name.items() if parse(name)[:2] == (variant, model)])


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
    effect = _effect(within, "it helps", "it costs accuracy", "it makes no difference that shows")
    text = (
        f"With filters of its own at every position the same network has {untied:,} parameters instead of {shared:,} "
        f"({untied / shared:.1f} times as many). On {images:,} training images, sharing one set of filters makes "
        f"{_points(gain, within)}: {effect} in this experiment."
    )
    numbers = {"gain": gain, "shared_parameters": shared, "untied_parameters": untied, "images": images}
    return Finding(name="sharing", title="The same filters everywhere", text=text, numbers=numbers)


def _pretraining(leads: _Leads) -> Finding:
    gain, within = leads.between((BASE, CNN), (SCRATCH, CNN))
    lead, of_lead = leads.between((SCRATCH, CNN), (BASE, BASELINE))
    left = _effect(of_lead, "it is still better", "it is worse", "neither is better")
    text = (
        f"The same network from random first weights, all of which learn from the first epoch on: pretraining makes "
        f"{_points(gain, within)} after as many epochs. Without it the CNN's difference to the feed-forward network is "
        f"{_points(lead, of_lead)}: {left}."
    )
    return Finding(name="pretraining", title="Pretrained weights", text=text, numbers={"gain": gain, "lead": lead})


def _effect(within: Interval, positive: str, negative: str, neither: str) -> str:
    """Return the words for what the interval says."""
    return positive if within.low > 0 else negative if within.high < 0 else neither


def _shifts(measured: Measured, leads: _Leads) -> Finding:
    shifts = measured.shifts
    far = int(shifts["pixels"].max())
    middle = (far + 1) // 2
    at_middle = {name: right_N for (name, pixels), right_N in measured.shifted.items() if pixels == middle}
    base_SN, feedforward_SN = (_stacked(at_middle, BASE, model) for model in (CNN, BASELINE))
    means = shifts.groupby(["model", "variant", "pixels"])["accuracy"].mean()
    variants = [variant for variant in means[CNN].index.unique("variant") if variant != BASE]
    base, feedforward = float(means[CNN, BASE, middle]), float(means[BASELINE, BASE, middle])
    shifted = f"Test images shifted by {middle} pixel{'' if middle == 1 else 's'}: the CNN"
    numbers = {"feedforward": feedforward, "pixels": float(middle)}
    lead, of_lead = leads.of(base_SN, feedforward_SN)
    if not variants:
        text = f"{shifted} is right on {base:.1%}, the feed-forward network on {feedforward:.1%}"
        text += f" (the CNN's lead: {_points(lead, of_lead)})."
        return Finding(name="shifts", title="Shifted images", text=text, numbers={"cnn": base, **numbers})
    other, other_SN = float(means[CNN, variants[0], middle]), _stacked(at_middle, variants[0], CNN)
    is_pooled = variants[0] == POOLED
    pooled, strided = (other, base) if is_pooled else (base, other)
    gain, within = leads.of(*((other_SN, base_SN) if is_pooled else (base_SN, other_SN)))
    effect = _effect(
        within,
        "the CNN is more tolerant of shifts with it",
        "the CNN is less tolerant of shifts with it",
        "so few trainings cannot tell whether that is chance",
    )
    text = (
        f"{shifted} with pooling is right on {pooled:.1%}, with strided convolutions instead on {strided:.1%}, the "
        f"feed-forward network on {feedforward:.1%} (the CNN's lead: {_points(lead, of_lead)}). Pooling makes "
        f"{_points(gain, within)}: in this experiment {effect}."
    )
    numbers = {"pooled": pooled, "strided": strided, "pooling_gain": gain, **numbers}
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
    to_all = {share: leads.between((variant, CNN), (BASE, BASELINE)) for share, variant in variants.items()}
    listed = ", ".join(f"{share:.0%}: {_points(lead, within)}" for share, (lead, within) in by_share.items())
    text = f"The CNN's difference to the feed-forward network by share of the training images: {listed}. "
    enough = [share for share, (_, within) in to_all.items() if within.low > 0]
    share = enough[0] if enough else 1.0
    difference, within = to_all[share]
    words = _effect(within, "better than", "worse than", "not told apart from")
    text += (
        f"{'With' if enough else 'Even with'} {share:.0%} of the images the CNN is {words} the feed-forward network "
        f"with all of them in this experiment: {_points(difference, within)}."
    )
    numbers = {f"lead_{share:g}": lead for share, (lead, _) in by_share.items()}
    return Finding(name="data", title="Fewer training images", text=text, numbers=numbers)


def _corruptions(measured: Measured, leads: _Leads) -> Finding:
    means = measured.corruptions.groupby(["model", "corruption"])["accuracy"].mean()
    errors = (1 - means.drop("none", level="corruption")).clip(lower=1e-9)
    relative = errors[CNN] / errors[BASELINE]
    mean = float(relative.mean())
    wrong = {
        name: {
            model: 1
            - _stacked({of: right for (of, what), right in measured.corrupted.items() if what == name}, BASE, model)
            for model in (CNN, BASELINE)
        }
        for name in relative.index
    }
    within = leads.around(mean - 1, _error_of_mean_ratio(wrong, errors))
    by_corruption = [leads.of(of_model[BASELINE], of_model[CNN])[1] for of_model in wrong.values()]
    better, worse = (sum(_effect(one, "+", "-", "") == sign for one in by_corruption) for sign in "+-")
    words = _effect(within, "it errs more", "it errs less", "no difference shows")
    text = (
        f"Over {len(relative)} corruptions at five severities, the CNN's mean corruption error is {mean:.0%} "
        f"[{1 + within.low:.0%}, {1 + within.high:.0%}] of the feed-forward network's: {words} in this experiment. "
        f"It errs less on {better or 'none'} of them and more on {worse or 'none'}; its error is smallest in "
        f"comparison on {relative.idxmin()} ({relative.min():.0%}) and largest on {relative.idxmax()} "
        f"({relative.max():.0%})."
    )
    numbers = {
        "mean_corruption_error": mean,
        "mean_corruption_error_low": 1 + within.low,
        "mean_corruption_error_high": 1 + within.high,
        "better": float(better),
    }
    return Finding(name="corruptions", title="Corrupted images", text=text, numbers=numbers)


def _error_of_mean_ratio(wrong: Mapping[str, Mapping[str, Shares]], errors: pd.Series) -> Error:
    """Return the error of the mean over corruptions of one model's error divided by the other's, by the delta method:
    of the images' and seeds' parts in it to first order."""
    parts = {
        CNN: [of_model[CNN] / errors[BASELINE, name] for name, of_model in wrong.items()],
        BASELINE: [
            of_model[BASELINE] * errors[CNN, name] / errors[BASELINE, name] ** 2 for name, of_model in wrong.items()
        ],
    }
    return error_of_difference(*(np.mean(parts[model], axis=0) for model in (CNN, BASELINE)))


def _parameters(trainings: pd.DataFrame, variant: str, model: str) -> int:
    of_kind = trainings[(trainings["variant"] == variant) & (trainings["model"] == model)]
    return int(of_kind["parameters"].iloc[0])
