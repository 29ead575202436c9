"""A search of several trials at once on a real Ray session, which Ctrl-C ends again and again."""

import os
import signal

import pytest

from reconv.errors import TrainingError
from reconv.search.budget import METRIC
from reconv.search.search import search
from reconv.training.cluster import ray_session

pytestmark = [pytest.mark.ray, pytest.mark.slow]


class Interrupting:
    """Ctrl-C after so many epochs."""

    def __init__(self, after=None):
        self.names, self.epochs, self.begun, self.known, self._after = {}, {}, {}, {}, after

    def started(self, key, name, values):
        self.names[key] = name

    def begins(self, key, after_epoch, worker):
        self.begun.setdefault(key, []).append(after_epoch)

    def note(self, text): ...

    def finished(self, key, status): ...

    def resumed(self, history, ended):
        self.known = {key: dict(epochs) for key, epochs in history.items()}
        assert ended <= history.keys()

    def epoch(self, key, epoch, metrics):
        self.epochs.setdefault(key, []).append((epoch, metrics[METRIC]))
        if sum(map(len, self.epochs.values())) == self._after:
            raise KeyboardInterrupt


def test_a_search_of_several_trials_at_once_goes_on_after_each_interruption(make_params, prepared, tmp_path):
    params = make_params({"search.budget_epochs": 24, "search.max_epochs": 4, "train.num_seeds": 1})
    seen, names = {}, {}
    for after in (1, 4, 6, None):
        recorder = Interrupting(after)
        try:
            with ray_session(params.resources) as session:
                outcome = search("cnn", params, prepared, tmp_path / "state", session, recorder)
        except KeyboardInterrupt:
            assert after
        assert {(key, epoch) for key, epochs in recorder.known.items() for epoch in epochs} <= seen.keys()
        for key, curve in recorder.epochs.items():
            for epoch, accuracy in curve:
                assert seen.setdefault((key, epoch), accuracy) == accuracy
        for key, (after_epoch, *_) in recorder.begun.items():
            assert after_epoch >= max(recorder.known.get(key, {}), default=0)
            assert {(key, epoch) for epoch in range(1, after_epoch + 1)} <= seen.keys()
        names |= recorder.names

    assert outcome.budget.spent_epochs == len(seen) == 24
    chosen = outcome.best.choices[0]
    assert chosen.validation_accuracy == max(
        value for (name, _), value in seen.items() if name == f"trial-{chosen.trial:02d}"
    )
    told = {key: sum(name == key for name, _ in seen) for key in names}
    assert told == {f"trial-{row.trial:02d}": row.epochs for row in outcome.trials.itertuples()}
    assert len(list((tmp_path / "state").glob("*.ckpt"))) <= 4 * session.room  # none of trials that ended long ago


def test_a_search_that_ray_tune_is_told_to_end_is_no_result(make_params, prepared, tmp_path):
    class Signalling(Interrupting):
        def epoch(self, key, epoch, metrics):
            os.kill(os.getpid(), signal.SIGUSR1)

    params = make_params({"search.budget_epochs": 6, "train.num_seeds": 2})
    with ray_session(params.resources) as session:
        with pytest.raises(
            TrainingError, match=r"ended the search after \d+ of 12 epochs, as it does when it is sent SIG"
        ):
            search("cnn", params, prepared, tmp_path / "state", session, Signalling())
        outcome = search("cnn", params, prepared, tmp_path / "state", session, Interrupting())
    assert outcome.budget.spent_epochs == 12
