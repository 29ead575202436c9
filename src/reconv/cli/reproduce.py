"""reconv reproduce: a trial or final training once more, and whether it comes out the same."""

import re
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from reconv.cli.conduct import FAILED, as_json, echo, named, print_json, silent, well_behaved

if TYPE_CHECKING:
    from reconv.tracking.trainings import Recorded

_RUN = re.compile(r"[0-9a-f]{32}")


@click.command()
@click.argument("run_or_version")
@named
@as_json
@well_behaved
def reproduce(run_or_version: str, name: str | None, wants_json: bool) -> None:
    """Train a trial or a final model again, and compare.

    RUN_OR_VERSION is the MLflow run of a trial or of a seed, or a version (number or alias) of the registered model. It
    is trained in this process, without Ray, on the images that it saw, and compared epoch by epoch: bit-equal, within
    half a point of accuracy, or different (exit code 1).

    \b
    Examples:
      reconv reproduce champion
      reconv reproduce 4f2c1a9be0d14c5b8d6f1f0f6a1f2b3c
    """
    with silent():
        recorded = _recorded(run_or_version, name)
    if not wants_json:
        echo(
            f"{recorded.name} of {recorded.common.stage} {recorded.common.model}: {len(recorded.curve)} epochs, seed "
            f"{recorded.seed}, {recorded.common.threads} threads"
        )
    with silent():
        from reconv.reproducing import reproduce as reproducing

        found = reproducing.reproduce(recorded)
    if wants_json:
        print_json({"run_id": recorded.run_id, **asdict(found)})
    else:
        echo(_in_words(found))
        for remark in found.remarks:
            echo(f"  - {remark}")
    sys.exit(FAILED if found.outcome == "different" else 0)


def _recorded(wanted: str, name: str | None) -> "Recorded":
    from reconv.errors import RegistryError
    from reconv.params import load_params
    from reconv.registry.opening import open_registry
    from reconv.tracking.server import client_of
    from reconv.tracking.trainings import recorded_training, seed_run

    params = load_params()
    if _RUN.fullmatch(wanted):
        return recorded_training(client_of(params.resources), wanted)
    version = open_registry(params, name).version(wanted)
    if "training_run" not in version.tags:
        raise RegistryError(f"version {version.number} is from before versions named the run that trained them.")
    client = client_of(params.resources)
    return recorded_training(client, seed_run(client, version.tags["training_run"], int(version.tags["seed"])))


def _in_words(found: object) -> str:
    from reconv.reproducing.reproduce import ACCURACY_TOLERANCE, Reproduced

    assert isinstance(found, Reproduced)
    weights = "" if found.weights == "not kept" else f", weights {found.weights}"
    if found.outcome == "bit-equal":
        return f"bit-equal: all metrics of {found.epochs} epochs are the same to the last digit{weights}"
    points = f"{100 * found.largest_difference:.2f} points of accuracy at most, from epoch {found.first_difference} on"
    if found.outcome == "within tolerance":
        return f"within tolerance ({100 * ACCURACY_TOLERANCE:g} points): it differs by {points}{weights}"
    return f"different: by {points}{weights}"
