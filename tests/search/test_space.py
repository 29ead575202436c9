"""params.yaml's search space as Ray Tune's, and back."""

import pytest
from ray import tune

from reconv.params import Params
from reconv.search.space import default_point, from_tune, to_tune

SPACE = {
    "lr": {"loguniform": [1e-3, 1e-1]},
    "dropout": {"uniform": [0.0, 0.5]},
    "hidden": {"integer": [4, 6]},
    "widths": {"choice": [[4, 8], [8]]},
    "pooling": {"choice": ["max", "average"]},
}


@pytest.fixture
def params_with_space(make_params) -> Params:
    return make_params({"search.space": {"cnn": SPACE, "feedforward": {}}})


def test_every_sample_is_a_valid_set_of_values(params_with_space):
    domains = to_tune(params_with_space.search.space["cnn"])
    for _ in range(50):
        values = from_tune({name: domain.sample() for name, domain in domains.items()})
        recipe, network = params_with_space.with_values("cnn", values)
        assert 1e-3 <= recipe.lr <= 1e-1
        assert network.hidden in (4, 5, 6)
        assert network.widths in ((4, 8), (8,))


def test_integers_include_both_bounds(params_with_space):
    domain = to_tune(params_with_space.search.space["cnn"])["hidden"]
    assert {domain.sample() for _ in range(200)} == {4, 5, 6}


def test_lists_survive_the_way_through_optuna(params_with_space):
    domain = to_tune(params_with_space.search.space["cnn"])["widths"]
    assert isinstance(domain, type(tune.choice(["a"])))
    assert all(isinstance(category, str) for category in domain.categories)
    assert from_tune({"widths": domain.categories[0]}) == {"widths": [4, 8]}


def test_the_values_of_params_yaml_are_the_first_trial(params_with_space):
    params = params_with_space
    point = default_point(params.search.space["cnn"], params.recipe, params.network("cnn"))
    assert point is None  # params.yaml says strided, which the space leaves out
    narrower = {name: domain for name, domain in params.search.space["cnn"].items() if name != "pooling"}
    narrower.pop("hidden")  # 8 lies outside of 4 to 6
    point = default_point(narrower, params.recipe, params.network("cnn"))
    assert from_tune(point) == {"lr": params.recipe.lr, "dropout": 0.1, "widths": [4, 8]}
