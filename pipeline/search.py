"""search: data/prepared -> the trials and the best values of one model in results/search/MODEL."""

import own_python  # noqa: F401
import sys

from reconv.console import SearchProgress
from reconv.data.arrays import PreparedData
from reconv.files import write_csv
from reconv.places import search_dir
from reconv.search.search import cores_of_a_trial, search
from reconv.stage import stage
from reconv.tracking.outcomes import log_search
from reconv.tracking.trainings import trainings_tag
from reconv.training.beginning import weights_digests
from reconv.training.cluster import ray_session

if __name__ == "__main__":
    model = sys.argv[1]
    with stage("search", model, lambda params: ray_session(params.resources)) as this:
        params, data = this.params, PreparedData()
        weights = weights_digests(params.networks_tried(model), data.manifest, this.console.say)
        fingerprint = [data.manifest.digest, weights, params.augment, params.recipe, params.network(model)]
        state = this.resumable_dir([repr(part) for part in (*fingerprint, params.search, params.train.num_seeds)])
        progress = SearchProgress(this.console, params.search.budget_epochs * params.train.num_seeds)
        this.run.log_dataset(data.manifest, "search")
        threads = int(cores_of_a_trial(params, this.session))
        this.run.set_tags(trainings_tag("search", model, params, params.search.max_epochs, data.manifest, threads))
        outcome = search(model, params, data, state, this.session, this.observers(progress))
        out = search_dir(model)
        write_csv(out / "trials.csv", outcome.trials)
        outcome.best.save(out / "best.json")
        outcome.budget.save(out / "budget.json")
        log_search(this.run, model, outcome.budget, outcome.best, out / "trials.csv")
        this.console.say(
            f"{outcome.budget.num_searches} searches · {outcome.budget.num_trials} trials · "
            f"{outcome.budget.spent_epochs} epochs · {outcome.best.text} · logs in {this.training_logs}"
        )
