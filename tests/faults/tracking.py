"""MLflow on PostgreSQL behind a proxy, each of which can fail; and what the database says of a stage's run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from failing_proxy import Proxy

from benchmarks.servers import MlflowServer, Postgres

_RECOVERY_SECONDS = 60
_NESTED = "JOIN tags AS parent ON parent.run_uuid = runs.run_uuid AND parent.key = 'mlflow.parentRunId'"


class Tracking:
    def __init__(self, postgres: Postgres, server: MlflowServer, proxy: Proxy) -> None:
        self.postgres = postgres
        self.server = server
        self.proxy = proxy

    def nested_runs(self, run_id: str) -> set[str]:
        """Ids of the runs within a stage's, deleted ones not counted."""
        query = f"SELECT runs.run_uuid FROM runs {_NESTED} WHERE parent.value = %s AND runs.lifecycle_stage = 'active'"
        return {row[0] for row in self._rows(query, run_id)}

    def epochs(self, run_id: str) -> list[tuple[str, list[int]]]:
        """Of each run within a stage's: its name, and the epochs of every loss that is recorded, in order."""
        query = (
            f"SELECT runs.name, array_agg(metrics.step ORDER BY metrics.step) FROM runs {_NESTED} "
            "LEFT JOIN metrics ON metrics.run_uuid = runs.run_uuid AND metrics.key = 'train/loss' "
            "WHERE parent.value = %s AND runs.lifecycle_stage = 'active' GROUP BY runs.run_uuid, runs.name ORDER BY 1"
        )
        return [(name, list(steps)) for name, steps in self._rows(query, run_id)]

    def stage_runs(self, pipeline_id: str, stage: str) -> list[str]:
        """Ids of the runs of a stage within a pipeline's."""
        query = f"SELECT runs.run_uuid FROM runs {_NESTED} WHERE parent.value = %s AND runs.name = %s"
        return [row[0] for row in self._rows(query, pipeline_id, stage)]

    def _rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        deadline = time.monotonic() + _RECOVERY_SECONDS
        while True:
            try:
                with psycopg.connect(self.postgres.uri) as connection:
                    return connection.execute(query, values).fetchall()
            except psycopg.OperationalError:  # it reads its log after it was killed
                assert time.monotonic() < deadline
                time.sleep(0.1)


@contextmanager
def running_tracking(folder: Path) -> Iterator[Tracking]:
    postgres = Postgres(folder / "postgres")
    try:
        postgres.start()
        with MlflowServer(postgres.uri, folder, workers=1) as server, Proxy(server.port) as proxy:
            yield Tracking(postgres, server, proxy)
    finally:
        postgres.stop()
