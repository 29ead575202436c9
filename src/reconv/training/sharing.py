"""How many trainings share a GPU, if resources.gpus_per_trial is `auto`: as many as its memory holds of the largest.

Called by the search and by trainings side by side, before they begin. The largest is trained for a few steps on a GPU
of its own, and what it has taken of it by then is what it takes: torch keeps what it once had.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from reconv.artifacts import Manifest
from reconv.errors import ReconvError
from reconv.params import Params
from reconv.training.cluster import Session
from reconv.training.delivery import Delivery
from reconv.training.job import TrainingJob
from reconv.training.observer import Observer
from reconv.training.room import LOOK_SECONDS, WaitForRoom, in_words
from reconv.training.shortage import as_task_options

# Left free: what fragments, what a driver keeps, and what validation or another network may take beyond it.
_HEADROOM = 0.15
# Processes take turns on a GPU. Two to four fill the gaps that each leaves while its core prepares the next step; more
# only wait for each other, and each takes a core and the images once more.
_MOST = 4
_MEASURED_STEPS = 3


@dataclass(frozen=True)
class Footprint:
    used_bytes: int
    """Of the GPU's memory, CUDA's own part included."""
    total_bytes: int


Measure = Callable[[TrainingJob, Delivery, int], Footprint | None]


def slots(footprint: Footprint, num_gpus: float, num_trainings: int | None) -> int:
    """How many trainings share a GPU; never so many that another GPU would have none. `num_trainings` is how many
    there are, None for a search."""
    fit = int(footprint.total_bytes * (1 - _HEADROOM) / max(1, footprint.used_bytes))
    enough = _MOST if num_trainings is None else math.ceil(num_trainings / num_gpus)
    return max(1, min(fit, _MOST, enough))


def measure(job: TrainingJob, delivery: Delivery, num_threads: int) -> Footprint | None:
    """What a training takes of this process's GPU, which it has to itself; None if torch sees no GPU.

    Raises:
        MemoryShortError: more than there is.
    """
    import torch

    from reconv.training.fit import fit

    if not torch.cuda.is_available():
        return None
    torch.set_num_threads(num_threads)
    data = delivery.open()
    train = data.train.share(job.train_share)
    short = dataclasses.replace(job, epochs=1)
    fit(short, data.manifest, train, None, lambda *_: None, max_steps=_MEASURED_STEPS)
    free_bytes, total_bytes = torch.cuda.mem_get_info()
    return Footprint(total_bytes - free_bytes, total_bytes)


def with_shared_gpus(
    session: Session,
    jobs: Iterable[TrainingJob],
    num_trainings: int | None,
    delivery: Delivery,
    observer: Observer,
    measured: Measure = measure,
) -> Session:
    """The session in which as many trainings share a GPU as the largest of `jobs` allows; unchanged without GPUs, or
    where params.yaml says how many."""
    if not session.gpu_share_is_measured:
        return session
    import ray

    manifest = delivery.open().manifest
    job = max(jobs, key=lambda job: _bytes_of(job, manifest))
    worker = ray.remote(max_retries=0, **as_task_options(session.needs))(measured)
    room = WaitForRoom(f"{in_words(session.needs)} to measure a training", session.is_local, observer.note)
    measuring = worker.remote(job, delivery, session.threads_per_training)
    while not ray.wait([measuring], timeout=LOOK_SECONDS)[0]:
        room.look(some_wait=True, some_run=False)  # a few steps take less than the limit
    try:
        footprint = ray.get(measuring)
    except ray.exceptions.RayError as error:
        observer.note(f"what a training takes of a GPU could not be measured: each has a whole one ({_first(error)})")
        return session
    if footprint is None:
        observer.note("Ray counts GPUs where torch finds none: each training has a whole one, and may not use it")
        return session
    share = slots(footprint, session.num_gpus, num_trainings)
    used, total = (f"{amount / 1e9:.1f}" for amount in (footprint.used_bytes, footprint.total_bytes))
    observer.note(f"the largest training takes {used} of a GPU's {total} GB: {share} share one")
    return dataclasses.replace(session, gpus_per_training=1 / share)


def largest_of_search(model: str, params: Params, manifest: Manifest) -> TrainingJob:
    """A trial with, of each value that the search may choose, the one that takes most memory; found one value after the
    other, which is exact where none changes the order of another's choices."""
    values: dict[str, object] = {}
    best = _trial(model, params, values)
    for name, domain in params.search.space[model].items():
        for value in domain.examples:
            tried = _trial(model, params, {**values, name: value})
            if _bytes_of(tried, manifest) > _bytes_of(best, manifest):
                values, best = {**values, name: value}, tried
    return best


def _trial(model: str, params: Params, values: dict[str, object]) -> TrainingJob:
    recipe, network = params.with_values(model, values)
    return TrainingJob(model, network, recipe, params.augment, params.search.max_epochs, params.search.seed)


def _bytes_of(job: TrainingJob, manifest: Manifest) -> float:
    """About what it takes, to tell which takes most: weights, gradients and two moments of each, and a batch's
    activations; -1 for a network that cannot be built."""
    from reconv.models.size import count_activations_of, count_parameters_of

    try:
        parameters = count_parameters_of(job.network, manifest.image_shape, manifest.num_classes)
        activations = count_activations_of(job.network, manifest.image_shape, manifest.num_classes)
    except ReconvError:
        return -1.0
    return 4.0 * (4 * parameters + job.recipe.batch_size * activations)


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
