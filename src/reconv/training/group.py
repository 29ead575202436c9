"""A training that several Ray workers share: Ray Train keeps the group, each of its ranks calls the same `fit`. Called
by side_by_side.

A lost rank or node ends the group; Ray Train starts it again, with as many workers as there is room for, from our own
checkpoint. Ray Train itself keeps none.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from uuid import uuid4

from reconv.data.ranks import Rank
from reconv.files import AnyPath
from reconv.training.cluster import Session
from reconv.training.delivery import Delivery
from reconv.training.job import TrainingJob
from reconv.training.worker import Begins, LostWorkers, Message, this_process, train, until_the_last

_MAX_FAILED_STARTS = 30  # of a minute each where there is no room; Ray Train itself would never stop trying
_END_SECONDS = 60.0


@dataclass(frozen=True)
class Group:
    fewest: int
    most: int
    """Workers."""
    num_cpus: int
    """Of each, as many as its threads."""
    has_gpus: bool
    """One each."""

    def __str__(self) -> str:
        """Say what it needs."""
        gpu = " and a GPU" if self.has_gpus else ""
        return f"{self.fewest} workers at once, with {self.num_cpus} CPU{gpu} each"

    def room(self, session: Session) -> int:
        """For how many workers there is."""
        cores = int(session.num_cpus // self.num_cpus)
        return min(cores, int(session.num_gpus)) if self.has_gpus else cores

    def at_once(self, session: Session) -> int:
        """How many groups of the largest size can train side by side; one, however small, always can."""
        return max(1, self.room(session) // self.most)


def train_in_group(
    key: str, job: TrainingJob, delivery: Delivery, state: AnyPath, group: Group, max_lost: int
) -> Iterator[Message]:
    """Yield what `train_and_report` does, with LostWorkers and another Begins each time the group starts again, at most
    `max_lost` times.

    This process only waits. If it ends, the whole group ends with it, but keeps its room until `free_the_dead` frees
    it.
    """
    import ray
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    messages = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})  # on no node that may be lost alone

    def run_rank() -> None:
        import ray.train

        context = ray.train.get_context()
        rank = Rank(context.get_world_rank(), context.get_world_size())
        if rank.is_first:
            messages.put(Begins(f"{rank.of} workers, the first on {this_process()}"))
        train(key, job, delivery, state, group.num_cpus, messages.put, rank)

    def run() -> None:
        try:
            with TemporaryDirectory() as folder:
                _trainer(run_rank, group, folder, max_lost, lambda: messages.put(LostWorkers())).fit()
        except BaseException as error:
            messages.put(RuntimeError(str(error)))  # Ray Train's own hold what cannot be sent

    running = Thread(target=run, daemon=True)
    running.start()
    yield from until_the_last(messages.get)
    running.join(_END_SECONDS)  # the next group needs the room


def _trainer(run_rank: Any, group: Group, folder: str, max_lost: int, tell_loss: Callable[[], None]) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
    from ray.train.torch import TorchTrainer

    class TellLoss(UserCallback):  # type: ignore[misc]
        def after_exception(self, *_: object, **__: object) -> None:
            tell_loss()

    return TorchTrainer(
        run_rank,
        scaling_config=ScalingConfig(
            num_workers=group.most if group.fewest == group.most else (group.fewest, group.most),
            use_gpu=group.has_gpus,
            resources_per_worker={"CPU": group.num_cpus, "GPU": int(group.has_gpus)},
        ),
        # Under an existing name, Ray Train would resume what it finds.
        run_config=RunConfig(
            name=uuid4().hex,
            storage_path=folder,
            failure_config=FailureConfig(max_failures=max_lost, controller_failure_limit=_MAX_FAILED_STARTS),
            callbacks=[TellLoss()],
        ),
    )
