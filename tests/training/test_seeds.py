"""The final training over several seeds, on a real Ray session."""

import json
import os
import signal
import time
from contextlib import suppress

import pytest

from reconv.errors import TrainingError
from reconv.training.cluster import ray_session
from reconv.training.job import jobs_for
from reconv.training.seeds import conditions_of, train_seeds, write_trained

pytestmark = [pytest.mark.ray, pytest.mark.slow]


class Recorder:
    def __init__(self):
        self.epochs, self.history, self.ended, self.begun, self.seen = [], {}, {}, {}, []

    def started(self, key, name, values):
        pass

    def note(self, text): ...

    def epoch(self, key, epoch, metrics):
        self.epochs.append((key, epoch))

    def begins(self, key, after_epoch, worker):
        self.begun.setdefault(key, []).append(after_epoch)

    def noticed(self, key, what):
        self.seen.append(what)

    def finished(self, key, status):
        self.ended[key] = status

    def resumed(self, history, ended):
        self.history = history


@pytest.fixture(scope="module")
def session():
    from reconv.params import ResourcesParams

    resources = ResourcesParams(
        ray_address=None,
        storage=None,
        tracking_uri=None,
        cpus_per_trial=1,
        gpus_per_trial="auto",
        train={"workers": 1},
        memory_per_trial=None,
    )
    with ray_session(resources, num_trainings=3) as session:
        yield session


def run(params, prepared, session, state, recorder, values=None, seeds=None):
    jobs = [
        job
        for job in jobs_for("cnn", params, [values or {}] * params.train.num_seeds)
        if seeds is None or job.seed in seeds
    ]
    return train_seeds(jobs, prepared, state, session, recorder)


def test_every_seed_is_trained_and_written(make_params, prepared, session, tmp_path):
    params = make_params({"train.num_seeds": 3})
    recorder = Recorder()
    trained, cost = run(params, prepared, session, tmp_path / "state", recorder)
    assert sorted(recorder.epochs) == [(f"seed-{seed}", epoch) for seed in range(3) for epoch in (1, 2)]
    assert len({one.weights.read_bytes() for one in trained.values()}) == 3
    assert len(cost.device_seconds) == 3

    searched = [{"lr": lr, "weight_decay": 0.1} for lr in (0.02, 0.02, 0.03)]
    conditions = conditions_of(jobs_for("cnn", params, searched), prepared.manifest, trained, cost)
    write_trained(trained, cost, conditions, tmp_path / "out")
    assert (conditions.seeds, conditions.searched, conditions.recipe["lr"]) == (
        (0, 1, 2),
        ("lr", "weight_decay"),
        0.02,
    )
    assert conditions.by_seed == {"lr": (0.02, 0.02, 0.03)}
    assert conditions.num_images == len(prepared.train)
    assert conditions.weights_sha256 is None
    names = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert names == {"curves.csv", "cost.json", "conditions.json"} | {
        f"seed-{seed}/{name}" for seed in range(3) for name in ("model.json", "weights.safetensors")
    }
    assert json.loads((tmp_path / "out" / "seed-0" / "model.json").read_text())["model"] == "cnn"


def test_what_is_finished_is_not_trained_again(make_params, prepared, session, tmp_path):
    params = make_params()
    run(params, prepared, session, tmp_path / "state", Recorder(), seeds={0})
    recorder = Recorder()
    trained, _ = run(params, prepared, session, tmp_path / "state", recorder)
    assert {key for key, _ in recorder.epochs} == {"seed-1"}
    assert {key: sorted(epochs) for key, epochs in recorder.history.items()} == {"seed-0": [1, 2], "seed-1": []}
    assert list(trained) == [0, 1]


def test_an_interrupted_seed_goes_on_from_its_checkpoint_to_the_same_weights(make_params, prepared, session, tmp_path):
    params = make_params({"train.max_epochs": 40, "models.cnn.dropout": 0.3})
    whole, _ = run(params, prepared, session, tmp_path / "whole", Recorder(), seeds={0})

    class KilledAfterFirstEpoch(Recorder):
        def epoch(self, key, epoch, metrics):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(params, prepared, session, tmp_path / "state", KilledAfterFirstEpoch(), seeds={0})
    time.sleep(2)  # its worker is killed, not waited for
    recorder = Recorder()
    resumed, _ = run(params, prepared, session, tmp_path / "state", recorder, seeds={0})
    done = sorted(recorder.history["seed-0"])
    assert done[0] == 1
    assert sorted(done + [epoch for _, epoch in recorder.epochs if epoch not in done]) == [*range(1, 41)]
    assert recorder.epochs[0][1] > 1
    assert [row["epoch"] for row in resumed[0].curve] == [*range(1, 41)]
    assert resumed[0].weights.read_bytes() == whole[0].weights.read_bytes()


def test_a_training_whose_worker_is_killed_goes_on_from_its_last_epoch(make_params, prepared, session, tmp_path):
    params = make_params({"train.max_epochs": 30, "models.cnn.dropout": 0.2})
    whole, _ = run(params, prepared, session, tmp_path / "whole", Recorder(), seeds={0})

    class Killer(Recorder):
        def begins(self, key, after_epoch, worker):
            super().begins(key, after_epoch, worker)
            self.process = int(worker.rsplit(" ", 1)[1])

        def epoch(self, key, epoch, metrics):
            super().epoch(key, epoch, metrics)
            if epoch >= 5 and len(self.begun[key]) == 1:
                with suppress(ProcessLookupError):
                    os.kill(self.process, signal.SIGKILL)

    recorder = Killer()
    trained, _ = run(params, prepared, session, tmp_path / "state", recorder, seeds={0})

    first, second = recorder.begun["seed-0"]
    assert first == 0
    assert 5 <= second < 30  # what was reported is not trained again
    assert [row["epoch"] for row in trained[0].curve] == [*range(1, 31)]
    assert trained[0].weights.read_bytes() == whole[0].weights.read_bytes()


@pytest.mark.parametrize("num_torn", [1, 2])
def test_a_torn_checkpoint_is_noticed_and_the_one_before_it_is_used(make_params, prepared, session, tmp_path, num_torn):
    params = make_params({"train.max_epochs": 20, "models.cnn.dropout": 0.3})
    whole, _ = run(params, prepared, session, tmp_path / "whole", Recorder(), seeds={0})

    class KilledAfterThirdEpoch(Recorder):
        def epoch(self, key, epoch, metrics):
            if epoch == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(params, prepared, session, tmp_path / "state", KilledAfterThirdEpoch(), seeds={0})
    time.sleep(2)  # its worker is killed, not waited for
    kept = sorted((tmp_path / "state").glob("*.ckpt"))
    assert len(kept) == 2
    for path in kept[-num_torn:]:
        path.write_bytes(path.read_bytes()[:-100] + bytes(100))
    recorder = Recorder()
    resumed, _ = run(params, prepared, session, tmp_path / "state", recorder, seeds={0})

    older = int(kept[0].name.split(".")[1])
    assert recorder.begun["seed-0"] == [older if num_torn == 1 else 0]
    assert [path.name in what for path, what in zip(kept[::-1], recorder.seen, strict=False)] == [True] * num_torn
    assert [row["epoch"] for row in resumed[0].curve] == [*range(1, 21)]
    assert resumed[0].weights.read_bytes() == whole[0].weights.read_bytes()


def test_a_training_that_diverges_says_which_value_to_change(make_params, prepared, session, tmp_path):
    params = make_params(
        {"recipe.lr": 10.0, "recipe.weight_decay": 10.0, "models.cnn.batch_norm": False, "train.max_epochs": 9}
    )
    recorder = Recorder()
    with pytest.raises(TrainingError, match=r"recipe\.lr"):
        run(params, prepared, session, tmp_path / "state", recorder)
    assert "diverged" in recorder.ended.values()
