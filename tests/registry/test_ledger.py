"""Which comparison on a test set one is, in the tags of a real store."""

from collections.abc import Callable

import numpy as np
import pytest

from reconv.artifacts import Comparison
from reconv.registry.gate import Look, contest
from reconv.registry.ledger import comparison_of, comparisons, restore_comparison
from reconv.registry.reference import Reference
from reconv.registry.registry import Registry

CANDIDATE = "a" * 64
OLD_KEY = f"reconv.comparison.{'a' * 16}.none"


def reference_to(num_test: int) -> Reference:
    """To the first test images of a set that grows."""
    hashes = np.arange(100_000, dtype=np.uint64)
    numbers = np.zeros(1, np.float32)
    return Reference(
        development=hashes[-2:],
        validation=hashes[-1:],
        test=hashes[:num_test],
        class_counts=np.ones(2, np.int64),
        brightness=numbers,
        contrast=numbers,
        colourfulness=numbers,
        confidence=numbers,
    )


@pytest.fixture
def number_of(registry: Registry) -> Callable[..., int]:
    """number_of(num_test, candidate=CANDIDATE): of a comparison without a champion."""

    def call(num_test: int, candidate: str = CANDIDATE) -> int:
        return comparison_of(registry, candidate, None, reference_to(num_test)).number

    return call


def test_the_same_on_the_same_test_set_is_the_same_comparison_and_on_a_grown_one_another(number_of, registry) -> None:
    assert [number_of(100), number_of(100), number_of(101), number_of(101)] == [1, 1, 2, 2]
    assert number_of(101, "b" * 64) == 3
    assert number_of(100) == 1
    assert len(comparisons(registry)) == 3


def test_an_entry_of_an_earlier_reconv_is_about_the_test_set_that_it_names(number_of, registry) -> None:
    registry.note(OLD_KEY, {"number": 4, "test_set": reference_to(100).test_digest, "at": "", "stands_for": 4})

    assert number_of(100) == 4
    assert number_of(101) == 5
    assert len(comparisons(registry)) == 2


def test_what_an_earlier_reconv_entered_is_not_restored_twice(number_of, registry) -> None:
    digest = reference_to(100).test_digest
    registry.note(OLD_KEY, {"number": 4, "test_set": digest, "at": ""})
    made = Comparison(candidate=CANDIDATE, champion=None, champion_candidate="", number=4, test_set=digest)

    restore_comparison(registry, made)
    assert len(comparisons(registry)) == 1

    restore_comparison(registry, made.model_copy(update={"test_set": "of a lost one"}))
    restore_comparison(registry, made.model_copy(update={"test_set": "of a lost one"}))
    assert len(comparisons(registry)) == 2
    assert number_of(101) == 1 + 1 + 4


def test_a_test_set_that_grows_each_night_promotes_what_is_not_better_no_more_often_than_accepted(number_of) -> None:
    """A candidate and a champion that are equally good, compared again each night. Where all nights count as the first,
    it is above what one comparison may spend."""
    sizes = range(400, 2000, 80)
    numbers = [number_of(size) for size in sizes]
    rng = np.random.default_rng(0)
    promoted, as_the_first = 0, 0
    for _ in range(300):
        candidate, champion = rng.random((2, sizes[-1])) < 0.9
        p_values = [
            contest(candidate[:size], champion[:size], Look(number, 0.05, 50), "1")
            for size, number in zip(sizes, numbers, strict=True)
        ]
        promoted += any(one.is_passed for one in p_values)
        as_the_first += any(one.p_value <= Look(1, 0.05, 50).level for one in p_values)

    assert promoted / 300 < 0.03
    assert as_the_first / 300 > 0.06
