import hashlib

import numpy as np
import pytest

from reconv.data.splitting import drawn_ranks, ranks_by_content, stratified_choice, units_of, units_per_class


@pytest.mark.parametrize(("share", "num_chosen"), [(0.01, 1), (0.5, 5), (0.99, 9)])
def test_some_of_each_class_are_chosen_and_never_all(share: float, num_chosen: int) -> None:
    labels = np.repeat([0, 1], 10)

    chosen = stratified_choice(labels, share, drawn_ranks(labels, 0))

    assert np.bincount(labels[chosen]).tolist() == [num_chosen, num_chosen]


def test_a_unit_stays_together() -> None:
    units = np.repeat(np.arange(20), 5)
    labels = np.repeat([0, 1], 50)

    chosen = stratified_choice(labels, 0.3, drawn_ranks(labels, 0), units)

    assert set(np.bincount(units, chosen)) <= {0.0, 5.0}
    assert np.bincount(labels[chosen]).tolist() == [15, 15]


def test_units_of_different_sizes_make_about_the_share() -> None:
    units = np.repeat(np.arange(100), np.random.default_rng(0).integers(1, 6, 100))
    labels = np.zeros(len(units), np.int64)

    chosen = stratified_choice(labels, 0.2, drawn_ranks(labels, 0), units)

    assert 0.2 <= chosen.mean() < 0.2 + 6 / len(units)


def test_a_class_that_is_one_unit_is_not_split() -> None:
    labels, units = np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2])

    assert units_per_class(labels, units, 3).tolist() == [2, 1, 0]
    assert stratified_choice(labels, 0.5, drawn_ranks(labels, 0), units)[2:].tolist() == [False, False]


def sums(count: int) -> np.ndarray:
    return np.array([hashlib.sha256(str(number).encode()).digest() for number in range(count)], "S32")


def test_new_images_hardly_move_old_ones() -> None:
    def tests_of(count: int) -> set[int]:
        ranks = ranks_by_content(sums(count), seed=0)
        return set(np.flatnonzero(stratified_choice(np.zeros(count, np.int64), 0.15, ranks)))

    before, after = tests_of(10_000), tests_of(10_100)

    assert len(before) == 1500
    assert len(after) == 1515
    moved = before ^ {index for index in after if index < 10_000}
    assert len(moved) < 15  # of 10,000, and a tenth of the new ones


def test_another_seed_ranks_otherwise() -> None:
    first, second = (ranks_by_content(sums(1000), seed) for seed in (0, 1))

    assert abs(np.corrcoef(first.argsort().argsort(), second.argsort().argsort())[0, 1]) < 0.1


NO_PAIRS = np.empty((0, 2), np.int64)


def test_images_that_share_anything_are_one_unit() -> None:
    contents = np.array([0, 1, 0, 2, 3, 1])
    groups = np.array([0, 1, -1, 1, -1, -1])

    assert units_of([contents, groups], NO_PAIRS).tolist() == [0, 1, 0, 1, 2, 1]
    assert units_of([contents, groups], np.array([[2, 4]])).tolist() == [0, 1, 0, 1, 0, 1]


def test_without_anything_shared_every_image_is_a_unit() -> None:
    assert units_of([np.arange(3), np.full(3, -1)], NO_PAIRS).tolist() == [0, 1, 2]
