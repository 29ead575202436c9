"""A run of its own that says what happened, written in one go by whoever is no stage."""

from collections.abc import Mapping
from pathlib import Path

from reconv.masking import masked
from reconv.params import Params
from reconv.tracking.filters import quoted
from reconv.tracking.opening import experiment_of
from reconv.tracking.record import NOTE
from reconv.tracking.remedies import unavailable
from reconv.tracking.server import client_of, tracking_uri
from reconv.untrusted import without_links


def note_run(
    params: Params, name: str, description: str, metrics: Mapping[str, float], tags: Mapping[str, str], file: Path
) -> str:
    """Its id. One that was begun and not ended is deleted, so that the same note is there once.

    Raises:
        UnavailableError: MLflow cannot be reached.
    """
    kept = {key: masked(value) for key, value in {**tags, NOTE: without_links(description)}.items()}
    client, uri = client_of(params.resources), tracking_uri(params.resources)
    try:
        experiment_id = experiment_of(client, uri, params)
        for begun in client.search_runs(
            [experiment_id], f"attributes.run_name = {quoted(name)} and status = 'RUNNING'"
        ):
            client.delete_run(begun.info.run_id)
        run_id = str(client.create_run(experiment_id, run_name=name, tags=kept).info.run_id)
        for key, value in metrics.items():
            client.log_metric(run_id, key, value)
        client.log_artifact(run_id, str(file))
        client.set_terminated(run_id)
    except Exception as error:  # whatever the store's client raises
        raise unavailable(uri, error) from None
    return run_id
