"""params.yaml's search space -> Ray Tune's, and a trial's number and values back."""

import json
from typing import Any

from reconv.domains import Choice, IntegerRange, LogUniform, Space, Uniform
from reconv.params import NetworkParams, RecipeParams

_PLAIN = (bool, int, float, str, type(None))
_JSON = "json:"
_NUMBER, SEARCH = "trial", "search"


def to_tune(space: Space) -> dict[str, Any]:
    """A Ray Tune search space. Optuna takes plain categories only, so that lists travel as JSON text."""
    from ray import tune

    domains: dict[str, Any] = {}
    for name, domain in space.items():
        match domain:
            case Uniform(uniform=(low, high)):
                domains[name] = tune.uniform(low, high)
            case LogUniform(loguniform=(low, high)):
                domains[name] = tune.loguniform(low, high)
            case IntegerRange(integer=(low, high)):
                domains[name] = tune.randint(low, high + 1)
            case Choice(choice=choices):
                domains[name] = tune.choice([_encode(choice) for choice in choices])
    return domains


def numbered(number: int, search: int, suggested: dict[str, Any]) -> dict[str, Any]:
    """The config of trial `number`, in the order of suggestion, from 1, of a search, from 0."""
    return {_NUMBER: number, SEARCH: search, **suggested}


def number_of(trial: Any) -> int:
    """Of one of Ray Tune's trials."""
    return int(trial.config[_NUMBER])


def search_of(trial: Any) -> int:
    """The same."""
    return int(trial.config[SEARCH])


def key_of(config: dict[str, Any]) -> str:
    """What an observer and a checkpoint's name know the trial by."""
    return key(config[_NUMBER])


def key(number: int) -> str:
    return f"trial-{number:02d}"


def from_tune(config: dict[str, Any]) -> dict[str, Any]:
    """A trial's config as values of params.yaml."""
    return {name: _decode(value) for name, value in config.items() if name not in (_NUMBER, SEARCH)}


def default_point(space: Space, recipe: RecipeParams, network: NetworkParams) -> dict[str, Any] | None:
    """The values of params.yaml as the first trial; None if one of them lies outside of the space."""
    values = {**recipe.model_dump(), **network.model_dump()}
    if not all(_contains(domain, values[name]) for name, domain in space.items()):
        return None
    return {name: _encode(values[name]) for name in space}


def _contains(domain: Any, value: Any) -> bool:
    if isinstance(domain, Choice):
        return _encode(value) in [_encode(choice) for choice in domain.choice]
    return bool(domain.examples[0] <= value <= domain.examples[-1])


def _encode(value: Any) -> Any:
    return value if isinstance(value, _PLAIN) else _JSON + json.dumps(value)


def _decode(value: Any) -> Any:
    return json.loads(value.removeprefix(_JSON)) if isinstance(value, str) and value.startswith(_JSON) else value
