"""Who becomes champion."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from reconv.artifacts import Guessing
from reconv.registry.gate import (
    Look,
    contest,
    decide,
    fewest_to_screen,
    fresh_test_note,
    paired_test,
    screen_level,
    screened_out,
)


def look(number=1, false_promotion=0.05, fresh_test_after=50):
    return Look(number, false_promotion, fresh_test_after)


def correct(only_candidate, only_champion, both=900, neither=50):
    """Of the candidate and of the champion."""
    candidate = [1] * both + [1] * only_candidate + [0] * only_champion + [0] * neither
    champion = [1] * both + [0] * only_candidate + [1] * only_champion + [0] * neither
    return np.array(candidate, bool), np.array(champion, bool)


def against(only_candidate, only_champion, number=1, **counts):
    return contest(*correct(only_candidate, only_champion, **counts), look(number), "7")


def test_levels_add_up_to_less_than_what_is_accepted_however_many_comparisons():
    levels = [look(number).level for number in range(1, 100_000)]

    assert levels[0] == 0.025
    assert levels == sorted(levels, reverse=True)
    assert 0.0499 < sum(levels) < 0.05


@pytest.mark.parametrize(("only_candidate", "only_champion"), [(12, 3), (3, 12), (40, 40), (0, 9), (9, 0)])
def test_the_p_value_is_the_exact_one_sided_one(only_candidate, only_champion):
    expected = binomtest(only_candidate, only_candidate + only_champion, alternative="greater").pvalue

    assert against(only_candidate, only_champion).p_value == pytest.approx(expected)


def test_a_candidate_that_gives_the_champions_answers_is_not_better():
    assert against(0, 0).p_value == 1.0


@pytest.mark.parametrize("winner", ["cnn", "feedforward", None])
def test_with_a_champion_the_candidate_has_to_beat_it_whoever_won_the_verdict(make_verdict, winner):
    won, lost = against(40, 5), against(22, 20)

    assert decide(make_verdict(winner), look(), won).alias == "champion"
    decision = decide(make_verdict(winner), look(), lost)
    assert decision.alias == "challenger"
    for words in ("no evidence that it is better", "right alone on 22, wrong alone on 20", "A true difference of"):
        assert words in decision.reason


def test_the_same_evidence_no_longer_promotes_after_many_comparisons():
    first, tenth = against(30, 13), against(30, 13, number=10)

    assert first.p_value == tenth.p_value <= first.level
    assert tenth.p_value > tenth.level
    assert tenth.detectable_difference > tenth.detectable_at_first == first.detectable_difference


def test_without_a_champion_the_verdict_decides_at_the_level_of_this_look(make_verdict):
    assert decide(make_verdict("cnn", p_value=0.02), look(), None).alias == "champion"
    assert decide(make_verdict("cnn", p_value=0.02), look(2), None).alias == "challenger"
    assert "p 0.03, required 0.025" in decide(make_verdict("cnn", p_value=0.03), look(), None).reason


def test_without_a_champion_the_network_that_is_served_has_to_be_the_better_one_itself(make_verdict):
    assert decide(make_verdict("cnn", p_value=1e-9), look(), None, over_other=0.012).alias == "champion"
    decision = decide(make_verdict("cnn", p_value=1e-9), look(), None, over_other=0.02)
    assert decision.alias == "challenger"
    assert "cnn is not proven better than feedforward (p 0.04, required 0.025" in decision.reason


def guess(*no_better):
    return Guessing(class_name="left", accuracy=0.6, over={}, no_better=no_better, text="")


@pytest.mark.parametrize("winner", ["cnn", None])
def test_without_a_champion_a_network_that_only_guesses_is_not_promoted(make_verdict, winner):
    decision = decide(make_verdict(winner, p_value=1e-9, guessing=guess("cnn", "feedforward")), look(), None)

    assert (decision.alias, decision.reason) == ("challenger", "cnn is not proven better than guessing, 60.0%")


def test_a_guesser_that_lost_does_not_hold_the_winner_back(make_verdict):
    verdict = make_verdict("cnn", p_value=1e-9, guessing=guess("feedforward"))

    assert decide(verdict, look(), None).alias == "champion"


def test_the_network_that_is_served_has_to_beat_guessing_itself(make_verdict):
    verdict = make_verdict("cnn", p_value=1e-9, guessing=guess())

    assert decide(verdict, look(), None, over_guessing=0.02).alias == "champion"
    decision = decide(verdict, look(), None, over_guessing=0.03)
    assert decision.reason.startswith("cnn is not proven better than guessing (p 0.03, required 0.025 in comparison 1")


def test_without_champion_and_winner_nobody_is_promoted(make_verdict):
    decision = decide(make_verdict(None, p_value=0.3), look(), None)

    assert decision.alias == "challenger"
    assert "contains 0" in decision.reason


def test_the_screen_asks_for_more_the_more_validation_images_there_are():
    levels = [screen_level(num_validation, 10_000, 0.05) for num_validation in (3_000, 6_000, 10_000)]

    assert levels == pytest.approx([0.400, 0.187, 0.064], abs=0.001)
    fewest = fewest_to_screen(10_000, 0.05)
    assert fewest == 2_093
    assert screen_level(fewest, 10_000, 0.05) <= 0.5 < screen_level(fewest - 1, 10_000, 0.05)


def test_what_is_screened_out_is_a_challenger_and_told_so_in_numbers():
    failed = paired_test(*correct(20, 22), 0.19, "7")

    decision = screened_out(failed)

    assert not failed.is_passed
    assert decision.alias == "challenger"
    assert decision.reason == (
        "92.74% on 992 validation images, the champion has 92.94%: not far enough ahead to be compared on the test "
        "images (right alone on 20, wrong alone on 22; p 0.68, required 0.19). No comparison on them was used up"
    )


def answers(rng, scores_N, gain=0.0):
    """Two trainings disagree on 2.8 % of the images, and are right on 92 %."""
    threshold = norm.ppf(0.92 + gain) - norm.ppf(0.92)
    return rng.random(len(scores_N)) < norm.cdf(scores_N + threshold * np.hypot(3.0, 0.51) / 0.51)


def test_fifty_retrainings_use_up_few_comparisons_and_a_better_one_is_still_found(make_verdict):
    """The figures of benchmarks/gate.py with fewer histories, through the functions that `register` calls."""
    rng, found, promoted, used = np.random.default_rng(1), [], [], []
    level = screen_level(6_000, 10_000, 0.05)
    for _ in range(60):
        screened, tested = (rng.normal(norm.ppf(0.92) * np.hypot(3.0, 0.51), 3.0, n) / 0.51 for n in (6_000, 10_000))
        # Images that all trainings get right, or all wrong, decide nothing.
        screened, tested = screened[abs(screened) < 4], tested[abs(tested) < 4]
        champion = answers(rng, screened), answers(rng, tested)
        number = 1
        for night in range(1, 51):
            gain = 0.005 if night == 50 else 0.0
            if not paired_test(answers(rng, screened, gain), champion[0], level, "1").is_passed:
                continue
            against = contest(answers(rng, tested, gain), champion[1], look(number), "1")
            number += 1
            (found if gain else promoted).append(decide(make_verdict(None), look(1), against).alias == "champion")
        used.append(number - 1)

    assert np.mean(used) < 12
    assert sum(promoted) / 60 <= 0.05
    assert sum(found) / 60 > 0.3  # without a screen 0.13


def test_a_fresh_test_set_is_due_after_so_many_comparisons():
    assert fresh_test_note(against(10, 5, number=49)) == ""
    note = fresh_test_note(against(10, 5, number=50))
    assert note.startswith("50 comparisons were made on these test images")
    assert "A fresh test set is due" in note


def test_the_detectable_difference_is_one_that_is_found_four_times_of_five():
    """Candidates that are better by it, among 2,000 images on which both differ as often as here."""
    rng = np.random.default_rng(0)
    seen = against(60, 60, both=1700, neither=180)
    share = 121 / 2000
    better = (share + seen.detectable_difference) / 2 / share
    differing = rng.binomial(2000, share, 4000)
    only_candidate = rng.binomial(differing, better)
    found = [
        binomtest(int(k), int(n), alternative="greater").pvalue <= seen.level
        for k, n in zip(only_candidate, differing, strict=True)
    ]

    assert np.mean(found) == pytest.approx(0.8, abs=0.05)
