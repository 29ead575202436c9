"""What results/register.json says is registered, against what MLflow's registry has. Called by the stage `registry`, by
`reconv retrain` and `reconv doctor`.

A registry loses a model with its file, its server or by a deletion, and a new machine never had it. DVC sees none of
this: the stage `registry` tells it, by an output that changes with each loss.
"""

from collections.abc import Callable

from reconv.artifacts import Registration, RegistryState
from reconv.errors import ReconvError
from reconv.masking import masked
from reconv.params import ResourcesParams
from reconv.places import REGISTERED, REGISTRY_STATE
from reconv.registry.changes import taken_back
from reconv.registry.glance import glance
from reconv.registry.version import CANDIDATE
from reconv.tracking.server import tracking_uri


def what_is_lost(resources: ResourcesParams) -> str:
    """Say in one line what the registry has lost; return nothing if it has all or nothing was registered here.

    A champion that a person moved, and a version that a person took back, are not losses.

    Raises:
        UnavailableError: the registry cannot be asked.
    """
    if not REGISTERED.exists():
        return ""
    said = Registration.load(REGISTERED)
    found = glance(resources, said.name)
    if said.version in taken_back(list(found.changes)):
        return ""
    one = next((version for version in found.versions if version.number == said.version), None)
    what = f"{said.name} version {said.version}"
    where = f"MLflow's registry ({masked(tracking_uri(resources))})"
    if one is None:
        return f"{what} is not in {where}"
    if said.candidate and one.tags.get(CANDIDATE, said.candidate) != said.candidate:
        return f"{what} is another model in {where}"
    if said.alias == "champion" and found.champion is None:
        return f"{what} was the champion, and {where} has none"
    return ""


def note_losses(resources: ResourcesParams, say: Callable[[str], None]) -> None:
    """Write results/registry.json, which DVC takes for another one if something was lost since `register` ran."""
    times_lost = Registration.load(REGISTERED).times_lost if REGISTERED.exists() else 0
    try:
        if lost := what_is_lost(resources):
            say(f"{lost}: `register` registers it again")
            times_lost += 1
    except ReconvError as error:
        say(f"not checked whether MLflow still has what was registered: {str(error).splitlines()[0]}")
    RegistryState(times_lost=times_lost).save(REGISTRY_STATE)
