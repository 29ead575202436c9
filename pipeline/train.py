"""train: data/prepared and the search's best values -> a classifier per seed in results/train/MODEL."""

import own_python  # noqa: F401
import sys

from reconv.artifacts import Best
from reconv.console import TrainProgress
from reconv.data.arrays import PreparedData
from reconv.places import search_dir, train_dir
from reconv.stage import stage
from reconv.tracking.outcomes import in_words, log_training
from reconv.tracking.trainings import trainings_tag
from reconv.training.beginning import weights_digests
from reconv.training.cluster import ray_session
from reconv.training.job import jobs_for
from reconv.training.seeds import conditions_of, train_seeds, write_trained

if __name__ == "__main__":
    model = sys.argv[1]
    with stage("train", model, lambda params: ray_session(params.resources, params.train.num_seeds)) as this:
        params, data = this.params, PreparedData()
        best = Best.load(search_dir(model) / "best.json")
        jobs = jobs_for(model, params, [choice.values for choice in best.choices])
        weights = weights_digests([job.network for job in jobs], data.manifest, this.console.say)
        state = this.resumable_dir([data.manifest.digest, weights, *map(repr, jobs)])
        progress = TrainProgress(this.console, params.train.num_seeds, params.train.max_epochs)
        this.run.log_dataset(data.manifest, "training")
        this.run.log_params(in_words(best))
        session = this.session
        shares = session.threads_per_training, session.workers[1]
        this.run.set_tags(trainings_tag("train", model, params, params.train.max_epochs, data.manifest, *shares))
        trained, cost = train_seeds(jobs, data, state, session, this.observers(progress))
        out = train_dir(model)
        write_trained(trained, cost, conditions_of(jobs, data.manifest, trained, cost), out)
        log_training(this.run, model, cost, out / "curves.csv", {seed: one.weights for seed, one in trained.items()})
        this.console.say(
            f"{len(trained)} seeds · {params.train.max_epochs} epochs in {cost.wall_seconds:,.0f} s · "
            f"{cost.images_per_second:,.0f} images/s each · {cost.precision} on {cost.device} · logs in "
            f"{this.training_logs}"
        )
