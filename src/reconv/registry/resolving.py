"""What a user calls a model -> its bundle on this machine. Called by the commands that use a registered classifier."""

import re
from dataclasses import dataclass
from pathlib import Path

from reconv.errors import RegistryError
from reconv.model_json import MODEL
from reconv.params import PARAMS_FILE, Params, load_params
from reconv.registry.opening import open_registry, registry_at
from reconv.registry.registry import Registry
from reconv.registry.version import Version

_URI = re.compile(r"models:/(?P<name>[^/@:]+)[/@](?P<version>[^/@:]+)")


@dataclass(frozen=True)
class Resolved:
    bundle: Path
    title: str
    """What a person calls it."""
    registry: Registry | None
    """None of a folder."""
    version: Version | None

    @property
    def warning(self) -> str:
        """One line if it cannot be checked in full; empty otherwise."""
        return self.version.warning if self.version else ""


def resolve(model: str) -> Resolved:
    """A version's number or alias of params.yaml's registered model, models:/NAME/VERSION, models:/NAME@ALIAS, or the
    folder of a trained classifier.

    Raises:
        RegistryError: there is none.
        ParamsError: neither a project nor a whole name says where to look.
    """
    if Path(model).is_dir():
        if not (Path(model) / MODEL).exists():
            raise RegistryError(f"{model} holds no classifier ({MODEL} is missing).")
        return Resolved(Path(model), model, None, None)
    named = _URI.fullmatch(model)
    params = project_params()
    if named:
        registry = open_registry(params, named["name"]) if params else registry_at(named["name"])
        wanted = named["version"]
    elif model.startswith("models:"):
        raise RegistryError(f"{model} is not models:/NAME/VERSION or models:/NAME@ALIAS.")
    else:
        registry, wanted = open_registry(params or load_params()), model
    version = registry.version(wanted)
    return Resolved(registry.bundle(version), f"{registry.name} version {version.number}", registry, version)


def project_params() -> Params | None:
    """None outside of a project's folder."""
    return load_params() if PARAMS_FILE.exists() else None
