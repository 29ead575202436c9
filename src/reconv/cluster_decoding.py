"""Images are decoded where the Ray cluster is, if there is one. Called by the stage `prepare`.

The files have to be where every node finds them: at a URL, or at the same path of a file system that all share.
"""

import json
from collections.abc import Generator, Iterable
from contextlib import chdir, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from reconv.data.decoders import RECORD, Chunk, DecodeChunks, Outcome, Target, decode_chunk, decode_locally, write_rows
from reconv.data.storage import Storage
from reconv.errors import DataError
from reconv.params import ResourcesParams
from reconv.training.cluster import cluster_address, ray_session
from reconv.training.ray_data import rows_of

_BLOCK_CHUNKS = 4


def decoder(resources: ResourcesParams) -> DecodeChunks:
    """For the cluster that RAY_ADDRESS or resources.ray_address names, or for this machine."""
    return partial(_decode_on_cluster, resources) if cluster_address(resources) else decode_locally


def _decode_on_cluster(
    resources: ResourcesParams,
    storage: Storage,
    to: Target,
    chunks: Iterable[Chunk],
    num_images: int,
    pixels: Path,
) -> Generator[Outcome, None, None]:
    """With Ray Data, which keeps as many tasks running as there are cores, gives what a lost node had to another, and
    waits where the pixels are written more slowly than they are decoded."""
    rows = [{"row": chunk.row, "paths": [*chunk.paths], "sums": chunk.sums.tobytes()} for chunk in chunks]
    if not rows:
        return
    with ray_session(resources):
        import ray.data

        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        dataset = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // _BLOCK_CHUNKS))
        for row in rows_of(dataset.map(partial(_decode, storage, to, Path.cwd()))):
            write_rows(pixels, row["row"], row["images"])
            yield Outcome(np.frombuffer(row["records"], RECORD), json.loads(row["problems"]))


def _decode(storage: Storage, to: Target, here: Path, row: dict[str, Any]) -> dict[str, Any]:
    """`here` is what relative paths start from: a worker has a working folder of its own."""
    chunk = Chunk(row["row"], row["paths"], np.frombuffer(row["sums"], "S32"))
    refused = ""
    try:
        with chdir(here) if here.is_dir() else nullcontext():
            images, outcome = decode_chunk(storage, to, chunk)
    except DataError as error:
        images, outcome, refused = (
            np.zeros((1, *to.shape), np.uint8),
            Outcome(np.empty(0, RECORD), {}),
            str(error),
        )
    return {
        "row": chunk.row,
        "images": images,
        "records": outcome.records.tobytes(),
        "problems": json.dumps(outcome.problems),
        "refused": refused,
    }
