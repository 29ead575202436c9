"""A whole search on a real Ray session."""

from pathlib import Path

import pytest

from reconv.search.budget import METRIC
from reconv.search.search import search
from reconv.training.cluster import ray_session

pytestmark = [pytest.mark.ray, pytest.mark.slow]


class Recorder:
    """An observer that keeps what it was told."""

    def __init__(self):
        self.names, self.epochs, self.ended, self.begun = {}, {}, {}, {}

    def started(self, key, name, values):
        self.names[key] = name

    def note(self, text): ...

    def epoch(self, key, epoch, metrics):
        self.epochs.setdefault(key, []).append((epoch, metrics[METRIC]))

    def begins(self, key, after_epoch, worker):
        self.begun.setdefault(key, []).append(after_epoch)

    def finished(self, key, status):
        self.ended[key] = status

    def resumed(self, history, ended):
        assert not history


@pytest.fixture(scope="module")
def session():
    from reconv.params import ResourcesParams

    resources = ResourcesParams(
        ray_address=None,
        storage=None,
        tracking_uri=None,
        cpus_per_trial=1,
        gpus_per_trial="auto",
        memory_per_trial=None,
        train={"workers": 1},
    )
    with ray_session(resources) as session:
        yield session


def test_a_search_spends_its_budget_and_returns_the_best(make_params, prepared, session, tmp_path):
    params = make_params({"search.budget_epochs": 5, "train.num_seeds": 2})
    recorder = Recorder()
    outcome = search("cnn", params, prepared, tmp_path / "state", session, recorder)

    assert outcome.budget.spent_epochs == outcome.budget.budget_epochs == 10
    assert outcome.trials.groupby("search")["epochs"].sum().to_dict() == {0: 5, 1: 5}
    assert outcome.trials["epochs"].max() <= params.search.max_epochs
    assert outcome.budget.num_trials == len(outcome.trials) == len(recorder.names)
    assert len(outcome.best.choices) == 2
    table = outcome.trials.set_index("trial")
    for seed, choice in enumerate(outcome.best.choices):
        assert table.loc[choice.trial, "search"] == seed
        assert choice.validation_accuracy == table.loc[choice.trial, METRIC]
        assert choice.validation_accuracy == max(value for _, value in recorder.epochs[f"trial-{choice.trial:02d}"])
        params.with_values("cnn", choice.values)
    assert set(recorder.ended.values()) <= {"finished", "stopped"}
    assert set(recorder.ended) == set(recorder.names)


def test_a_reproducible_search_comes_out_the_same_twice(make_params, prepared, session, tmp_path):
    params = make_params({"search.budget_epochs": 6, "search.reproducible": True})
    tables = [
        search("feedforward", params, prepared, tmp_path / name, session, Recorder()).trials.drop(
            columns="device_seconds"
        )
        for name in ("first", "second")
    ]
    assert tables[0].equals(tables[1])


def test_a_diverging_trial_is_marked_and_the_search_goes_on(make_params, prepared, session, tmp_path):
    space = {"lr": {"choice": [10.0, 1e-2]}, "widths": {"choice": [[16]]}}
    params = make_params(
        {
            "search.budget_epochs": 6,
            "search.reproducible": True,
            "search.space": {"cnn": {}, "feedforward": space},
            "recipe.lr": 1e-2,
            "models.feedforward.batch_norm": False,
        }
    )
    outcome = search("feedforward", params, prepared, tmp_path / "state", session, Recorder())
    assert outcome.budget.spent_epochs == 6 * params.train.num_seeds
    assert all(choice.values["lr"] == 1e-2 for choice in outcome.best.choices)


def test_trials_that_cannot_train_end_the_search_with_their_reason(make_params, prepared, session, tmp_path):
    from reconv.errors import TrainingError

    # Four blocks halve an image of 8 x 8 pixels to nothing: every trial fails.
    params = make_params({"search.space": {"cnn": {"widths": {"choice": [[4] * 6]}}, "feedforward": {}}})
    with pytest.raises(TrainingError, match="blocks"):
        search("cnn", params, prepared, Path(tmp_path / "state"), session, Recorder())
