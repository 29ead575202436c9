"""Is a network better than guessing, that is than always answering the largest class of the training images?

S seeds, N images.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from reconv.artifacts import Guessing, Interval
from reconv.evaluation.statistics import error_of_difference, interval, paired_bootstrap
from reconv.params import CompareParams
from reconv.places import CNN

Answers = NDArray[np.int64]

_NEARLY_ALL = 0.99
_MOST = 0.95
"""From this share of one class on, a good network gives nearly all images the same answer, too."""
_SAME = 0.005
_BOTH_ARE = {
    "no": "Neither network is better",
    "not proven": "Neither network is proven better",
    "hardly": "Both networks are hardly better",
}


def guessing(
    answers: Mapping[str, Answers], labels_N: Answers, largest: int, class_name: str, params: CompareParams
) -> Guessing:
    """Compare the answers (S, N) of each model with the constant answer `largest`, which is called `class_name`.

    The interval is that of the verdict, with the constant answer in the place of the second model: it is right on the
    same images whenever it is "trained".
    """
    guess_N = labels_N == largest
    over = {model: _over(answers_SN == labels_N, guess_N[None], params) for model, answers_SN in answers.items()}
    constant = {model for model, answers_SN in answers.items() if _is_nearly_constant(answers_SN, labels_N)}
    no_better = tuple(model for model in answers if over[model].low <= 0 or model in constant)
    found = Guessing(class_name=class_name, accuracy=float(guess_N.mean()), over=over, no_better=no_better, text="")
    accuracy = {model: float((answers[model] == labels_N).mean()) for model in answers}
    return found.model_copy(update={"text": _in_words(found, accuracy, constant, params.confidence)})


def _over(correct_SN: NDArray[np.bool_], guess_1N: NDArray[np.bool_], params: CompareParams) -> Interval:
    bootstrap = paired_bootstrap(correct_SN, guess_1N, params.num_resamples, params.seed)
    error = error_of_difference(correct_SN, guess_1N)
    return interval(bootstrap.first - bootstrap.second, error, params.confidence)


def _is_nearly_constant(answers_SN: Answers, labels_N: Answers) -> bool:
    """Return whether every seed gives nearly all images one answer that is right for far fewer."""
    for answers_N in answers_SN:
        commonest = np.bincount(answers_N).argmax()
        if (answers_N == commonest).mean() < _NEARLY_ALL or (labels_N == commonest).mean() >= _MOST:
            return False
    return True


def _in_words(found: Guessing, accuracy: Mapping[str, float], constant: set[str], confidence: float) -> str:
    if not found.no_better:
        return ""
    names = {model: "the CNN" if model == CNN else "the feed-forward network" for model in found.no_better}
    margin = max(accuracy[model] for model in names) - found.accuracy
    how = "hardly" if any(found.over[model].low > 0 for model in names) else "no" if margin < _SAME else "not proven"
    (name, *others) = names.values()
    who = _BOTH_ARE[how] if others else f"T{name[1:]} is {how} better"
    of_each = [
        f"{names[model]} on {accuracy[model]:.1%} ({confidence:.0%} interval of the difference "
        f"[{found.over[model].low * 100:+.1f}, {found.over[model].high * 100:+.1f}] points"
        f"{'; nearly all of its answers are the same' if model in constant else ''})"
        for model in names
    ]
    return (
        f"{who} than guessing: always answering “{found.class_name}” is right on {found.accuracy:.1%} of the test "
        f"images, {' and '.join(of_each)}."
    )
