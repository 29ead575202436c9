"""Who reads and answers the chunks: this process where there are few images, else Ray Data on the cores and GPUs of
this machine or of a cluster.
"""

import json
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import chdir, closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconv.data.decoding import Conversion
from reconv.errors import DataError
from reconv.model_json import MODEL
from reconv.params import ResourcesParams
from reconv.prediction.inputs import Inputs, Reader
from reconv.serving.bundle import SERVED, WEIGHTS
from reconv.training.cluster import Session, cluster_address, ray_session
from reconv.training.ray_data import rows_of

_FEW_IMAGES = 4000
_BLOCK_CHUNKS, _BLOCKS_PER_CORE = 4, 2
# glibc's malloc keeps what a batch has used for the next one. By itself it gives it back outside of the main thread,
# where Ray calls, and the system zeroes the same pages again for each layer: 13,900 images a second, not 17,000.
_KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(10**9), "MALLOC_MMAP_THRESHOLD_": str(10**9)}
Bundle = Mapping[str, bytes]
"""Name -> content of its files."""


@dataclass(frozen=True)
class Answers:
    chunk: int
    probabilities: NDArray[np.float32]
    """(images of the chunk, K)."""
    problems: dict[int, str]
    """Position in the chunk -> why it was not answered."""


@contextmanager
def answering(
    inputs: Inputs, chunks: Sequence[int], bundle: Path, conversion: Conversion, resources: ResourcesParams
) -> Iterator[Iterable[Answers]]:
    """Yield the answers to `chunks`, in any order. Ray, where it is used, ends with the context.

    Raises:
        DataError: packed pixels of another size.
        UnavailableError: the cluster cannot be used.
    """
    if not chunks:
        yield ()
    elif cluster_address(resources) is None and len(chunks) * inputs.chunk_images <= _FEW_IMAGES:
        yield _here(inputs, chunks, bundle, conversion)
    else:
        with (
            ray_session(resources) as session,
            closing(_on_ray(inputs, chunks, _content(bundle), conversion, session)) as answers,
        ):
            yield answers


def _here(inputs: Inputs, chunks: Sequence[int], bundle: Path, conversion: Conversion) -> Iterator[Answers]:
    worker = _Answerer(bundle, None)
    for chunk in chunks:
        read = inputs.reader.read(inputs.part(chunk), conversion)
        yield Answers(chunk, worker.probabilities(read.images), read.problems)


def _on_ray(
    inputs: Inputs, chunks: Sequence[int], bundle: Bundle, conversion: Conversion, session: Session
) -> Generator[Answers, None, None]:
    """One process per core that reads and answers; where there are GPUs, cores read and each GPU answers."""
    import ray
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    context.memory_usage_poll_interval_s = None  # a walk over all pages every second, which nobody reads
    rows = [{"chunk": chunk, "part": json.dumps(_plain(inputs.part(chunk)))} for chunk in chunks]
    cores = max(1, int(session.num_cpus / session.threads_per_training))
    blocks = min(len(rows), max(_BLOCKS_PER_CORE * cores, -(-len(rows) // _BLOCK_CHUNKS)))
    dataset = ray.data.from_items(rows, override_num_blocks=blocks)
    arguments = (ray.put(bundle), session.threads_per_training)
    read = partial(_read, inputs.reader, conversion, Path.cwd())
    gpus = int(session.num_gpus)
    if gpus:
        answer = partial(dataset.map(read).map, _AnswerRead, fn_constructor_args=arguments)
        dataset = answer(num_gpus=1, compute=ray.data.ActorPoolStrategy(size=min(gpus, blocks)))
    else:
        dataset = dataset.map(
            _ReadAndAnswer,
            fn_constructor_args=(*arguments, read),
            num_cpus=session.threads_per_training,
            runtime_env={"env_vars": _KEEP_MEMORY},
            compute=ray.data.ActorPoolStrategy(size=min(cores, blocks)),
        )
    for row in rows_of(dataset):
        problems = {int(at): problem for at, problem in json.loads(row["problems"]).items()}
        count = len(inputs.part(row["chunk"]))
        answers = np.frombuffer(row["probabilities"], np.float32).reshape(count, -1)
        yield Answers(row["chunk"], answers, problems)


class _Answerer:
    def __init__(self, bundle: Path, num_threads: int | None) -> None:
        import torch

        from reconv.serving.answering import Answering
        from reconv.training.precision import best_device

        if num_threads is not None:
            torch.set_num_threads(num_threads)
        self._answering = Answering(bundle, best_device())

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._answering.probabilities(images).astype(np.float32)


class _AnswerRead(_Answerer):
    """Rows with images -> rows with probabilities, by a bundle that came as bytes."""

    def __init__(self, bundle: Any, num_threads: int) -> None:
        import ray

        self._refused = ""
        with tempfile.TemporaryDirectory(prefix="reconv-") as folder:
            for name, content in ray.get(bundle).items():
                (Path(folder) / name).write_bytes(content)
            try:
                super().__init__(Path(folder), num_threads)
            except DataError as error:  # the driver reports it: Ray would restart this process again and again
                self._refused = str(error).replace(folder, "the model's folder")

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        content = row.pop("images")
        if self._refused:
            return {**row, "probabilities": b"", "refused": self._refused}
        try:
            images = np.frombuffer(content, np.uint8).reshape(-1, *self._answering.image_shape)
            return {**row, "probabilities": self.probabilities(images).tobytes()}
        except DataError as error:
            return {**row, "probabilities": b"", "refused": str(error)}


class _ReadAndAnswer(_AnswerRead):
    def __init__(self, bundle: Any, num_threads: int, read: Any) -> None:
        super().__init__(bundle, num_threads)
        self._read = read

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return super().__call__(self._read(row))


def _read(reader: Reader, conversion: Conversion, here: Path, row: dict[str, Any]) -> dict[str, Any]:
    """`here` is what relative paths start from: a worker has a working folder of its own."""
    part = json.loads(row["part"])
    refused, images, problems = "", b"", {}
    try:
        with chdir(here) if here.is_dir() else nullcontext():
            read = reader.read(range(*part["rows"]) if "rows" in part else part["paths"], conversion)
        images, problems = read.images.tobytes(), read.problems
    except DataError as error:
        refused = str(error)
    return {"chunk": row["chunk"], "images": images, "problems": json.dumps(problems), "refused": refused}


def _plain(part: Sequence[str] | range) -> dict[str, Any]:
    return {"rows": [part.start, part.stop]} if isinstance(part, range) else {"paths": list(part)}


def _content(bundle: Path) -> Bundle:
    return {name: (bundle / name).read_bytes() for name in (WEIGHTS, MODEL, SERVED) if (bundle / name).exists()}
