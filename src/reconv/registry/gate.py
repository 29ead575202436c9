"""Has a candidate earned to become champion? From who is right on which image; no MLflow here.

A screen on validation images decides first whether a candidate may be compared with the champion on the test images, so
that most of those that are not better use up no comparison. Thresholdout too answers from other data while that is
enough (Dwork et al., "The reusable holdout", Science 349, 2015), and the Ladder too charges only for what is ahead
(Blum & Hardt, "The Ladder: A Reliable Leaderboard for Machine Learning Competitions", ICML 2015).

N images that neither network was trained on.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm

from reconv.artifacts import Contest, Decision, PairedTest, Verdict
from reconv.places import BASELINE, CNN

_POWER = 0.8
_PASSES = 0.9
"""The chance that a candidate passes the screen if a first comparison would find it with `_POWER`. Less costs the first
comparison power, more the fiftieth (benchmarks/gate.py)."""
Correct = NDArray[np.bool_]


@dataclass(frozen=True)
class Look:
    """One comparison on a test set: each is one more chance to be fooled by it."""

    number: int
    """Of the comparisons on this test set, from 1."""
    false_promotion: float
    """The chance of any false promotion, over all of them, that is accepted."""
    fresh_test_after: int
    """Comparisons, after which a fresh test set is due."""

    @property
    def level(self) -> float:
        """What this comparison may spend of that chance: alpha / (k (k + 1)), which adds up to less than alpha however
        many there are.

        By the union bound the chance that any of them promotes a candidate that is not better is at most that sum,
        whatever they have in common (Foster & Stine, "Alpha-investing", JRSS B 70, 2008, section 2, name such series
        alpha-spending rules). A screen on other images does not change that: the chance holds for each comparison
        whatever the validation images said.
        """
        return self.false_promotion / (self.number * (self.number + 1))


def paired_test(candidate_N: Correct, champion_N: Correct, level: float, version: str) -> PairedTest:
    """Exact one-sided McNemar test of "the candidate is right more often than the champion".

    Both are fixed networks, so that only the images are random; a candidate that is retrained is another candidate.
    """
    only_candidate, only_champion = _right_alone(candidate_N, champion_N)
    return PairedTest(
        champion=version,
        level=level,
        num_images=len(candidate_N),
        accuracy=float(candidate_N.mean()),
        champion_accuracy=float(champion_N.mean()),
        only_candidate=only_candidate,
        only_champion=only_champion,
        p_value=mcnemar_p_value(candidate_N, champion_N),
    )


def contest(candidate_N: Correct, champion_N: Correct, look: Look, version: str) -> Contest:
    """Return the test on the test images that this look decides by."""
    test = paired_test(candidate_N, champion_N, look.level, version)
    differing, num_images = test.only_candidate + test.only_champion, test.num_images
    return Contest(
        **test.model_dump(),
        number=look.number,
        detectable_difference=_detectable(look.level, differing, num_images),
        detectable_at_first=_detectable(
            Look(1, look.false_promotion, look.fresh_test_after).level, differing, num_images
        ),
        fresh_test_due=look.number >= look.fresh_test_after,
    )


def screen_level(num_validation: int, num_test: int, false_promotion: float) -> float:
    """Return the p value that the screen requires: 0.19 for 6,000 validation and 10,000 test images.

    A candidate passes with probability `_PASSES` if it is better by what the first comparison on the test images finds
    with `_POWER`. Only the ratio of the numbers of images counts, as an image of either split tells as much. With fewer
    than `fewest_to_screen` the level is above 0.5: such a candidate need not even be ahead.
    """
    in_errors = _detected_errors(false_promotion) * math.sqrt(num_validation / num_test)
    return float(norm.sf(in_errors - norm.ppf(_PASSES)))


def fewest_to_screen(num_test: int, false_promotion: float) -> int:
    """Return how many validation images a screen takes: about a fifth of the test images."""
    return math.ceil(num_test * (float(norm.ppf(_PASSES)) / _detected_errors(false_promotion)) ** 2)


def _detected_errors(false_promotion: float) -> float:
    """What a first comparison finds with `_POWER`, in standard errors."""
    return float(norm.isf(Look(1, false_promotion, 1).level) + norm.ppf(_POWER))


def mcnemar_p_value(first_N: Correct, second_N: Correct) -> float:
    """Exact, one-sided: of "the first is not right more often than the second"."""
    only_first, only_second = _right_alone(first_N, second_N)
    differing = only_first + only_second
    return float(binom.sf(only_first - 1, differing, 0.5)) if differing else 1.0


def _right_alone(first_N: Correct, second_N: Correct) -> tuple[int, int]:
    return int((first_N & ~second_N).sum()), int((second_N & ~first_N).sum())


def _detectable(level: float, differing: int, num_images: int) -> float:
    """The true difference in accuracy that a test at `level` finds with probability 0.8, given how often both differ
    (Connor, "Sample size for testing differences in proportions for the paired-sample design", Biometrics 43, 1987;
    with one image more, as two that never differed so far may)."""
    share = (differing + 1) / num_images
    return min(1.0, float(norm.isf(level) + norm.ppf(_POWER)) * math.sqrt(share / num_images))


def decide(
    verdict: Verdict, look: Look, against: Contest | None, over_other: float = 0.0, over_guessing: float = 0.0
) -> Decision:
    """With a champion on the same test images the candidate has to beat it (`against`). Without one the verdict has to
    tell its model from the other and from guessing, and the network that would be served has to beat the other one and
    guessing itself (`over_other`, `over_guessing`, one-sided p values), all at the level that this look at the test
    images may spend.

    The verdict alone would not do at levels far below 5 %: with three seeds it claims 1.4 % at 0.8 % and 0.3 % at 0.1 %
    (benchmarks/gate.py).
    """
    if against is None:
        return _first(verdict, look, max(verdict.p_value, min(1.0, 2 * over_other)), over_guessing)
    both = _both(against, "test")
    if against.is_passed:
        return Decision(alias="champion", reason=f"{both}: {evidence(against)}")
    return Decision(
        alias="challenger",
        reason=f"{both}: no evidence that it is better ({evidence(against)}). A true difference of "
        f"{against.detectable_difference * 100:.1f} points would probably have shown",
    )


def screened_out(failed: PairedTest) -> Decision:
    return Decision(
        alias="challenger",
        reason=f"{_both(failed, 'validation')}: not far enough ahead to be compared on the test images "
        f"({_counts(failed)}). No comparison on them was used up",
    )


def evidence(against: Contest) -> str:
    return f"{_counts(against)} in comparison {against.number} on these images"


def _both(test: PairedTest, split: str) -> str:
    return f"{test.accuracy:.2%} on {test.num_images:,} {split} images, the champion has {test.champion_accuracy:.2%}"


def _counts(test: PairedTest) -> str:
    return (
        f"right alone on {test.only_candidate:,}, wrong alone on {test.only_champion:,}; "
        f"p {_p(test.p_value)}, required {_p(test.level)}"
    )


def _first(verdict: Verdict, look: Look, p_value: float, over_guessing: float) -> Decision:
    level = f"required {_p(look.level)} in comparison {look.number} on these test images"
    winner, guessing = verdict.winner, verdict.guessing
    if guessing and verdict.candidate in guessing.no_better:
        reason = f"{verdict.candidate} is not proven better than guessing, {guessing.accuracy:.1%}"
    elif winner is None:
        reason = "the interval of the difference contains 0: neither model is proven better"
    elif p_value > look.level:
        reason = f"{winner} is not proven better than {BASELINE if winner == CNN else CNN} (p {_p(p_value)}, {level})"
    elif over_guessing > look.level:
        reason = f"{winner} is not proven better than guessing (p {_p(over_guessing)}, {level})"
    else:
        other = BASELINE if winner == CNN else CNN
        reason = f"{winner} beats {other} (p {_p(p_value)}, {level}); there was no champion"
        return Decision(alias="champion", reason=reason)
    return Decision(alias="challenger", reason=reason)


def fresh_test_note(against: Contest) -> str:
    """What a person should do about a worn test set; empty while there is nothing to do."""
    if not against.fresh_test_due:
        return ""
    return (
        f"{against.number} comparisons were made on these test images: to be found by now a difference has to be "
        f"{against.detectable_difference * 100:.1f} points, at first {against.detectable_at_first * 100:.1f}. A fresh "
        "test set is due: images that no model was trained on or compared by."
    )


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else f"{value:.0e}"
