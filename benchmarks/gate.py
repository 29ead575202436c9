"""Can the gate be trusted night after night? How often retraining promotes what is not better, and finds what is.

Answers with known truth, put through the functions that `register` uses: a champion and 50 retrainings of it on one
test set, all of the same true accuracy, so that every promotion is a false one. The chance of any of them in a history
must not be above 5 %. Beside it what one would do otherwise: compare each on the test images (no screen), each at 5 %,
or promote whatever is not worse. Then a candidate that is truly better, after so many that were not; and a candidate
that is compared again each night on a test set that grows.

Each image has a chance of being answered rightly by a training, so that two trainings agree on most images. Simulated,
an image's score is normal, and two trainings disagree on 2.8 % of the images: with that share the gate without a screen
has the power that was measured on recorded predictions (+0.5 points at comparison 1, 10, 50: 85, 37, 13 %). With
benchmarks/results/recorded/SET-MODEL.npz the chances are those of the recorded final trainings of one configuration, of
images drawn with replacement.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import zeta
from scipy.stats import norm

from benchmarks import recorded
from benchmarks.measure import OURS, RESULTS, Effort, Row
from benchmarks.verdict import simulate
from reconv.evaluation.statistics import error_of_difference
from reconv.registry.gate import Look, mcnemar_p_value, screen_level

TITLE = "The gate: 50 retrainings on one test set"

_ACCEPTED, _RETRAININGS, _SEEDS = 0.05, 50, 3
_NO_SCREEN, _EACH, _NOT_WORSE = "no screen", "5 % for each comparison", "promotes what is not worse"
_ONE_NUMBER = "one number for all nights"
_ACCURACY, _SHARED, _CHANCE = 0.92, 3.0, 0.51
_GAINS, _NIGHTS = (0.005, 0.01), (1, 10, _RETRAININGS)
Correct = NDArray[np.bool_]
Chances = NDArray[np.float64]
Pool = Callable[[np.random.Generator], tuple[Chances, Chances]]
"""The chances of validation and test images of one history."""


def measure(effort: Effort) -> list[Row]:
    histories = 2000 if effort == "full" else 3
    rows = []
    for num_validation, num_test in ((6_000, 10_000), (600, 1_000), (120, 200)):
        setting, pool = f"{num_validation:,} + {num_test:,} images", _simulated(num_validation, num_test)
        rows += _rows(setting, pool, histories, with_others=num_test == 10_000)
    for path in sorted((RESULTS / "recorded").glob("*.npz")):
        for name, pool in _recorded(path.stem).items():
            rows += _rows(name, pool, histories)
    few = max(1, histories // 4)
    share = _without_a_champion(few)
    what = (
        f"the same without a champion at first, {_SEEDS} seeds of two models that are equally good, 10,000 test images"
    )
    rows.append(Row(what, "%", OURS, [100 * share], bar=_bar(few), note=f"{few:,} histories"))
    for contender, share in _growing(histories).items():
        what = f"the same candidate on a test set that grows on {_RETRAININGS} nights, 2,000 to 10,000 images: promoted"
        asked = _bar(histories) if contender == OURS else ""
        rows.append(Row(what, "%", contender, [100 * share], bar=asked, note=f"{histories:,} histories"))
    return rows


def _bar(histories: int) -> str:
    """5 %, and what so many histories may be off by chance."""
    return f"<= {5 + 196 * np.sqrt(0.05 * 0.95 / histories):.1f} %"


def _simulated(num_validation: int, num_test: int) -> Pool:
    def draw(rng: np.random.Generator) -> tuple[Chances, Chances]:
        spread = np.hypot(_SHARED, _CHANCE)
        scores = rng.normal(norm.ppf(_ACCURACY) * spread, _SHARED, num_validation + num_test)
        chances = norm.cdf(scores / _CHANCE)
        return chances[:num_validation], chances[num_validation:]

    return draw


def _recorded(name: str) -> dict[str, Pool]:
    """Return pools of the configuration with most final trainings: all its validation images, and fewer of them."""
    trainings = recorded.load(name)
    finals = [task for task in trainings if task.is_final]
    numbers = [task.configuration for task in finals]
    most = max(sorted(set(numbers)), key=numbers.count)
    chosen = [trainings[task] for task in finals if task.configuration == most]
    validation, test = (np.mean([getattr(one, split) for one in chosen], axis=0) for split in ("validation", "test"))

    def pool(num_validation: int) -> Pool:
        return lambda rng: (rng.choice(validation, num_validation), rng.choice(test, len(test)))

    counts = sorted({len(validation), int(0.6 * len(test))})
    kind = f"{name}, {len(chosen)} real trainings"
    return {f"{kind}, {count:,} + {len(test):,} images": pool(count) for count in counts}


@dataclass(frozen=True)
class _Night:
    """P values of a candidate against the champion, and whether it is not worse on the test images."""

    validation: float
    test: float
    is_not_worse: bool


@dataclass(frozen=True)
class _History:
    equal: list[_Night]
    better: dict[float, _Night]
    """By how much it is better."""


def _history(rng: np.random.Generator, pool: Pool) -> _History:
    splits = pool(rng)
    champion = [_answers(rng, chances, 0.0) for chances in splits]

    def night(gain: float) -> _Night:
        candidate = [_answers(rng, chances, gain) for chances in splits]
        validation, test = (mcnemar_p_value(*pair) for pair in zip(candidate, champion, strict=True))
        return _Night(validation, test, bool(candidate[1].sum() >= champion[1].sum()))

    return _History([night(0.0) for _ in range(_RETRAININGS)], {gain: night(gain) for gain in _GAINS})


def _answers(rng: np.random.Generator, chances_N: Chances, gain: float) -> Correct:
    """Who is right, better by `gain` on average where trainings disagree."""
    disagreement_N = chances_N * (1 - chances_N)
    right: Correct = rng.random(len(chances_N)) < chances_N + gain * disagreement_N / disagreement_N.mean()
    return right


@dataclass(frozen=True)
class _Rule:
    screen: float
    """The largest p value on the validation images that passes."""
    level: Callable[[int], float] = lambda number: _look(number).level
    """Return the level of a comparison on the test images."""

    def numbers(self, nights: list[_Night]) -> list[int]:
        """Return the number of the comparison that a candidate would get before each night, and after the last."""
        return [1, *(1 + np.cumsum([night.validation <= self.screen for night in nights])).tolist()]

    def promotes(self, night: _Night, number: int) -> bool:
        return night.validation <= self.screen and night.test <= self.level(number)

    def promotes_any(self, history: _History) -> bool:
        return any(map(self.promotes, history.equal, self.numbers(history.equal)))

    def finds(self, history: _History, gain: float, number: int) -> bool:
        """In place of retraining `number`, after others that were not better."""
        return self.promotes(history.better[gain], self.numbers(history.equal)[number - 1])


_SEQUENCES: dict[str, Callable[[int], float]] = {
    "levels as 1 / k²": lambda k: _ACCEPTED * 6 / (np.pi * k) ** 2,
    "levels as 1 / ((k + 1) (k + 2))": lambda k: _ACCEPTED * 2 / ((k + 1) * (k + 2)),
    "levels as 1 / k^1.5": lambda k: _ACCEPTED / k**1.5 / zeta(1.5),
    "half of it spread evenly": lambda k: _ACCEPTED / 2 / (k * (k + 1)) + _ACCEPTED / 2 / _RETRAININGS,
}
_SCREENS = (0.1, 0.3, 0.5)


def _rows(setting: str, pool: Pool, histories: int, with_others: bool = False) -> list[Row]:
    """`with_others`: other levels and screens as well."""
    rng = np.random.default_rng(len(setting))
    played = [_history(rng, pool) for _ in range(histories)]
    screen = screen_level(*(len(chances) for chances in pool(rng)), _ACCEPTED)
    rules = {OURS: _Rule(screen), _NO_SCREEN: _Rule(1.0)}
    if with_others:
        rules |= {name: _Rule(screen, level) for name, level in _SEQUENCES.items()}
        rules |= {f"screen at p {level}": _Rule(level) for level in _SCREENS}
    shares = {name: np.mean([rule.promotes_any(one) for one in played]) for name, rule in rules.items()}
    shares[_EACH] = np.mean([any(night.test <= _ACCEPTED for night in one.equal) for one in played])
    shares[_NOT_WORSE] = np.mean([any(night.is_not_worse for night in one.equal) for one in played])
    rows = []
    what = f"histories of {_RETRAININGS} with a false promotion, {setting}"
    for name, share in shares.items():
        asked = _bar(histories) if name == OURS else ""
        rows.append(Row(what, "%", name, [100 * share], bar=asked, note=f"{histories:,} histories"))
    for name, rule in rules.items():
        used = np.mean([rule.numbers(one.equal)[-1] - 1 for one in played])
        rows.append(Row(f"comparisons that {_RETRAININGS} retrainings use up, {setting}", "", name, [used]))
    for gain in _GAINS:
        for number in _NIGHTS:
            for name, rule in rules.items():
                found = np.mean([rule.finds(one, gain, number) for one in played])
                what = (
                    f"a candidate that is {100 * gain:.1f} points better is promoted by retraining {number}, {setting}"
                )
                rows.append(Row(what, "%", name, [100 * found]))
    for row in rows:
        print(f"  {row.quantity}: {row.contender} {row.median:.1f}", file=sys.stderr, flush=True)
    return rows


def _look(number: int) -> Look:
    return Look(number, _ACCEPTED, _RETRAININGS)


def _growing(histories: int) -> dict[str, float]:
    """A candidate that is as good as the champion, compared again each night: by the numbers that the ledger gives, and
    as one comparison. No screen, which only makes it rarer."""
    rng = np.random.default_rng(0)
    sizes = np.linspace(2_000, 10_000, _RETRAININGS).astype(int)
    promoted = {OURS: 0, _ONE_NUMBER: 0}
    for _ in range(histories):
        _, chances = _simulated(1, 10_000)(rng)
        candidate, champion = (_answers(rng, chances, 0.0) for _ in range(2))
        p_values = [mcnemar_p_value(candidate[:size], champion[:size]) for size in sizes]
        levels = [_look(number).level for number in range(1, _RETRAININGS + 1)]
        promoted[OURS] += any(p <= level for p, level in zip(p_values, levels, strict=True))
        promoted[_ONE_NUMBER] += min(p_values) <= levels[0]
    shares = {rule: count / histories for rule, count in promoted.items()}
    print(f"  growing test set: {shares}", file=sys.stderr, flush=True)
    return shares


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
