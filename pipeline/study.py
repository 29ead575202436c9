"""study: data/prepared and the best values of both models -> why one of them wins, in results/study."""

import own_python  # noqa: F401
from contextlib import nullcontext

from reconv.artifacts import Best
from reconv.console import StudyProgress
from reconv.data.arrays import PreparedData
from reconv.places import BASELINE, CNN, STUDY, search_dir
from reconv.stage import stage
from reconv.study.plan import num_trainings, plan
from reconv.study.study import nothing, study, write_study
from reconv.tracking.outcomes import log_study
from reconv.training.beginning import weights_digests
from reconv.training.cluster import ray_session

if __name__ == "__main__":
    with stage(
        "study",
        open_session=lambda params: (
            ray_session(params.resources, num_trainings(params.study)) if params.study.enabled else nullcontext()
        ),
    ) as this:
        params, data = this.params, PreparedData()
        outcome = nothing(params.study)
        if params.study.enabled:
            best = {model: Best.load(search_dir(model) / "best.json").choices[0].values for model in (CNN, BASELINE)}
            jobs = plan(params, best, data.manifest)
            weights = weights_digests([job.network for job in jobs.values()], data.manifest, this.console.say)
            state = this.resumable_dir([data.manifest.digest, weights, *map(repr, jobs.items())])
            progress = StudyProgress(this.console, len(jobs), sum(job.epochs for job in jobs.values()))
            outcome = study(jobs, params, data, state, this.session, this.observers(progress))
        write_study(outcome, STUDY)
        log_study(this.run, outcome.study, STUDY)
        if outcome.study.enabled:
            this.console.say(f"{len(jobs)} trainings · {len(outcome.study.findings)} findings, which the report shows")
        else:
            this.console.say("not enabled (study.enabled in params.yaml)")
