"""Can the gate be trusted night after night? How often retraining promotes what is not better, and finds what is.

Simulated answers with known truth (as in verdict.py), put through the functions that `register` uses: a champion and 50
retrainings of it on one test set, all of the same true accuracy, so that every promotion is a false one. The chance of
any of them in a history must not be above 5 %. Beside it what one would do without a ledger: promote whatever is not
worse, or test each candidate at 5 %. Then a candidate that is truly better, after so many that were not.
"""

import sys

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import OURS, Effort, Row
from benchmarks.verdict import simulate
from reconv.evaluation.statistics import error_of_difference
from reconv.registry.gate import Look, contest, mcnemar_p_value

TITLE = "The gate: 50 retrainings on one test set"

_ACCEPTED, _RETRAININGS, _SEEDS = 0.05, 50, 3
_NOT_WORSE, _EACH = "promotes what is not worse", "5 % for each comparison"
Correct = NDArray[np.bool_]


def measure(effort: Effort) -> list[Row]:
    histories = 2000 if effort == "full" else 3
    rows = []
    for images in (10_000, 1_000, 200):
        shares = _false_promotions(images, histories)
        what = f"histories of {_RETRAININGS} with a false promotion, {images:,} test images"
        for contender, share in shares.items():
            asked = _bar(histories) if contender == OURS else ""
            rows.append(Row(what, "%", contender, [100 * share], bar=asked, note=f"{histories:,} histories"))
    few = max(1, histories // 4)
    share = _without_a_champion(few)
    what = (
        f"the same without a champion at first, {_SEEDS} seeds of two models that are equally good, 10,000 test images"
    )
    rows.append(Row(what, "%", OURS, [100 * share], bar=_bar(few), note=f"{few:,} histories"))
    for gain in (0.005, 0.01):
        for number in (1, 2, 10, _RETRAININGS):
            found = _found(gain, number, histories)
            what = f"a candidate that is {100 * gain:.1f} points better is promoted by comparison {number}"
            rows.append(Row(what, "%", OURS, [100 * found], note="10,000 test images"))
    return rows


def _bar(histories: int) -> str:
    """5 %, and what so many histories may be off by chance."""
    return f"<= {5 + 196 * np.sqrt(0.05 * 0.95 / histories):.1f} %"


def _look(number: int) -> Look:
    return Look(number, _ACCEPTED, _RETRAININGS)


def _false_promotions(images: int, histories: int) -> dict[str, float]:
    """Of each rule."""
    rng = np.random.default_rng(images)
    any_false = {OURS: 0, _EACH: 0, _NOT_WORSE: 0}
    for _ in range(histories):
        trainings, _ = simulate(rng, _RETRAININGS + 1, images, deviation=0.0)
        for rule in any_false:
            any_false[rule] += _is_any_promoted(trainings, rule)
    shares = {rule: count / histories for rule, count in any_false.items()}
    print(f"  {images:,} images: {shares}", file=sys.stderr, flush=True)
    return shares


def _is_any_promoted(trainings: Correct, rule: str) -> bool:
    champion = trainings[0]
    for number, candidate in enumerate(trainings[1:], start=1):
        against = contest(candidate, champion, _look(number), "0")
        if rule == OURS and against.p_value <= against.level:
            return True
        if rule == _EACH and against.p_value <= _ACCEPTED:
            return True
        if rule == _NOT_WORSE and against.accuracy >= against.champion_accuracy:
            return True
    return False


def _without_a_champion(histories: int) -> float:
    """Each retraining trains both models anew until one of them is proven the better one, which none is."""
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(histories):
        first, second = simulate(rng, _SEEDS * _RETRAININGS, 10_000, deviation=0.001)
        for number in range(1, _RETRAININGS + 1):
            chosen = slice(_SEEDS * (number - 1), _SEEDS * number)
            if _is_first_promoted(first[chosen], second[chosen], _look(number)):
                found += 1
                break
    print(f"  without a champion: {found / histories:.1%}", file=sys.stderr, flush=True)
    return found / histories


def _is_first_promoted(first_SN: Correct, second_SN: Correct, look: Look) -> bool:
    """As `decide` has it without a champion: the verdict's p value, and that of the seeds that would be served."""
    difference = float(first_SN.mean() - second_SN.mean())
    of_verdict = error_of_difference(first_SN, second_SN).p_value(difference)
    winner, other = (first_SN[0], second_SN[0]) if difference > 0 else (second_SN[0], first_SN[0])
    return max(of_verdict, 2 * mcnemar_p_value(winner, other)) <= look.level


def _found(gain: float, number: int, histories: int) -> float:
    """By that comparison alone."""
    rng = np.random.default_rng(number)
    found = 0
    for _ in range(histories):
        better, champion = simulate(rng, 1, 10_000, deviation=0.0, gain=gain)
        against = contest(better[0], champion[0], _look(number), "0")
        found += against.p_value <= against.level
    return found / histories
