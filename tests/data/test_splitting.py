import numpy as np
import pytest

from reconv.data.splitting import stratified_choice, units_of
from reconv.errors import DataError


@pytest.mark.parametrize(("share", "num_chosen"), [(0.01, 1), (0.5, 5), (0.99, 9)])
def test_some_of_each_class_are_chosen_and_never_all(share: float, num_chosen: int) -> None:
    labels = np.repeat([0, 1], 10)

    chosen = stratified_choice(labels, share, 0, ("a", "b"), "data.test")

    assert np.bincount(labels[chosen]).tolist() == [num_chosen, num_chosen]


def test_a_unit_stays_together() -> None:
    units = np.repeat(np.arange(20), 5)
    labels = np.repeat([0, 1], 50)

    chosen = stratified_choice(labels, 0.3, 0, ("a", "b"), "data.test", units)

    assert set(np.bincount(units, chosen)) <= {0.0, 5.0}
    assert np.bincount(labels[chosen]).tolist() == [15, 15]


def test_units_of_different_sizes_make_about_the_share() -> None:
    units = np.repeat(np.arange(100), np.random.default_rng(0).integers(1, 6, 100))
    labels = np.zeros(len(units), np.int64)

    chosen = stratified_choice(labels, 0.2, 0, ("a",), "data.test", units)

    assert 0.2 <= chosen.mean() < 0.2 + 6 / len(units)


def test_a_class_that_is_one_unit_cannot_be_split() -> None:
    with pytest.raises(DataError, match=r'class "b" has 1 images \(or groups of images that stay together\) left'):
        stratified_choice(np.array([0, 0, 1, 1]), 0.5, 0, ("a", "b"), "data.test", np.array([0, 1, 2, 2]))


def test_images_that_share_anything_are_one_unit() -> None:
    sums = ["x", "y", "x", "z", "w", "y"]
    groups = ["1", "2", "", "2", "", ""]

    assert units_of(sums, groups).tolist() == [0, 1, 0, 1, 2, 1]


def test_without_anything_shared_every_image_is_a_unit() -> None:
    assert units_of(["a", "b", "c"], ["", "", ""]).tolist() == [0, 1, 2]
