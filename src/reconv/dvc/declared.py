"""What dvc.yaml declares for each stage: parameters, dependencies and outputs, which DVC records at its end."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from reconv.errors import DataError, ParamsError
from reconv.yaml_files import read_yaml

PIPELINE = Path("dvc.yaml")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


@dataclass(frozen=True)
class Declared:
    params: tuple[str, ...] = ()
    """Dotted keys of params.yaml."""
    deps: tuple[str, ...] = ()
    outs: tuple[str, ...] = ()


def declared_stages() -> dict[str, Declared]:
    """Return what each stage declares, by DVC's name for it (search@cnn); nothing without a dvc.yaml.

    Raises:
        ParamsError: dvc.yaml cannot be read.
    """
    try:
        pipeline = (read_yaml(PIPELINE) if PIPELINE.exists() else None) or {}
    except DataError:
        raise ParamsError(f"{PIPELINE} cannot be read: put back the one that was committed.") from None
    variables = dict(pair for part in pipeline.get("vars", ()) if isinstance(part, dict) for pair in part.items())
    return {
        name: Declared(
            params=tuple(_names(stage.get("params", ()), values)),
            deps=tuple(_names(stage.get("deps", ()), values)),
            outs=tuple(name for kind in ("outs", "metrics", "plots") for name in _names(stage.get(kind, ()), values)),
        )
        for key, stage in pipeline.get("stages", {}).items()
        for name, values in _items(key, stage.get("matrix", {}), variables)
    }


def upstream(name: str, stages: Mapping[str, Declared]) -> set[str]:
    """Return the stages whose outputs the stage `name` depends on, directly or through others."""
    found: set[str] = set()
    pending = [name]
    while pending:
        deps = stages[pending.pop()].deps
        made = {one for one, declared in stages.items() if any(overlap(o, d) for o in declared.outs for d in deps)}
        pending += made - found
        found |= made
    return found - {name}


def overlap(one: str, other: str) -> bool:
    """Return whether two paths are the same, or one is inside the other."""
    first, second = f"{one}/", f"{other}/"
    return first.startswith(second) or second.startswith(first)


def _items(key: str, matrix: Mapping[str, Any], variables: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the name and the variables of every item of a matrix; a stage without one is its only item."""
    lists = [variables[_VARIABLE.sub(r"\1", one)] if isinstance(one, str) else one for one in matrix.values()]
    for values in product(*lists):
        name = f"{key}@{'-'.join(map(str, values))}" if values else key
        yield name, {f"item.{one}": str(value) for one, value in zip(matrix, values, strict=True)}


def _names(entries: Any, values: Mapping[str, str]) -> Iterator[str]:
    """Yield paths or keys without their options. Keys of another file than params.yaml are a dict with a list."""
    for entry in entries:
        for name, options in entry.items() if isinstance(entry, dict) else [(entry, None)]:
            if not isinstance(options, list):
                yield _VARIABLE.sub(lambda match: values.get(match[1], match[0]), str(name))
