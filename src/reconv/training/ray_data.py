"""Rows of a Ray Data set, in this process. Called by predictions and by decoding on a cluster."""

from collections.abc import Generator
from contextlib import closing
from typing import Any

from reconv.errors import DataError, UnavailableError
from reconv.training.room import LIMIT, limit_seconds


def rows_of(dataset: Any) -> Generator[dict[str, Any], None, None]:
    """Yield the rows; the data set stops running when the iterator is exhausted or closed.

    Raises:
        DataError: a row says in its field `refused` why its input cannot be used.
        UnavailableError: there was no progress for as long as a stage waits for room in the cluster.
    """
    from ray.data.exceptions import ExecutionTimeoutError

    seconds = dataset.context.execution_no_progress_timeout_s = limit_seconds(is_local=False)
    try:
        with closing(iter(dataset.iter_rows())) as rows:
            for row in rows:
                if row["refused"]:
                    raise DataError(row["refused"])
                yield row
    except ExecutionTimeoutError as error:
        raise UnavailableError(
            f"Ray Data made no progress for {seconds:.0f} s: {' '.join(str(error).split())}\n"
            "End what holds the cluster or add nodes, then run the same command again to resume. "
            f"{LIMIT} sets another limit."
        ) from None
