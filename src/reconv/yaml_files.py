"""YAML files, read as YAML 1.2 as DVC does: both must find the same values in params.yaml."""

import re
from pathlib import Path
from typing import Any

import yaml

from reconv.errors import DataError
from reconv.files import write_text

_SAFE_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C loader reads dvc.lock in 6 ms instead of 46


class _Loader(_SAFE_LOADER):  # type: ignore[misc]
    """Reads YAML 1.2: PyYAML by itself reads `on` as true, 012 as 10, 1:30 as 90 and 1e-3 as text."""


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.2 would read as something else than text."""


_SCALARS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)", "-+0123456789"),
    "float": (
        r"[-+]?([0-9][0-9_]*(\.[0-9_]*([eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)|\.[0-9][0-9_]*([eE][-+][0-9]+)?"
        r"|\.(inf|Inf|INF))|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
}
"""Kind of scalar -> its pattern and what it may start with, as ruamel.yaml has them, which DVC reads with."""


def _yaml_int(loader: Any, node: Any) -> int:
    text = loader.construct_scalar(node).replace("_", "")
    digits = text.lstrip("+-")
    base = {"0b": 2, "0o": 8, "0x": 16}.get(digits[:2])
    number = int(digits[2:], base) if base else int(digits)
    return -number if text.startswith("-") else number


for _handler in (_Loader, _Dumper):
    _handler.yaml_implicit_resolvers = {
        first: [one for one in known if one[0].rpartition(":")[2] not in _SCALARS]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for _kind, (_pattern, _firsts) in _SCALARS.items():
        _handler.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^({_pattern})$"), [*_firsts])
_Loader.add_constructor("tag:yaml.org,2002:int", _yaml_int)


def parse_yaml(text: str) -> Any:
    """Return the value of a text. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_Loader)


def write_yaml(path: Path, value: dict[str, Any]) -> None:
    write_text(path, yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=None))


def read_yaml(path: Path) -> Any:
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing: run `dvc repro`, which makes it.") from None
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"{path} cannot be read ({error}): delete it and run `dvc repro`.") from None
