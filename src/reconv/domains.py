"""Checked types of the values in params.yaml and in a model's files, the domains of the search space, and messages
about wrong values. Used by params.py and by artifacts that hold the same values.
"""

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

# Strict: `true` is no number, "3" is none either.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Share = Annotated[Number, Field(gt=0, lt=1)]
Probability = Annotated[Number, Field(ge=0, lt=1)]
Integer = Annotated[int, Field(strict=True)]
PositiveInt = Annotated[Integer, Field(ge=1)]
NonNegativeInt = Annotated[Integer, Field(ge=0)]
# The bounds below are far beyond what anybody trains. They stop an untrusted file from requesting a network that takes
# minutes to build.
Seed = Annotated[Integer, Field(ge=0, lt=2**63)]
Side = Annotated[Integer, Field(ge=8, le=1024)]
"""Height or width of an image in pixels."""
NumUnits = Annotated[Integer, Field(ge=0, le=2**20)]
NumLayers = Annotated[Integer, Field(ge=1, le=100)]
KernelSize = Annotated[Integer, Field(ge=1, le=255)]
Widths = Annotated[tuple[Annotated[NumUnits, Field(ge=1)], ...], Field(min_length=1, max_length=100)]
_MAX_SHOWN = 80


class Section(BaseModel):
    """A part of params.yaml: unknown keys are refused, values cannot be changed afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Uniform(Section):
    uniform: tuple[Number, Number]

    @property
    def examples(self) -> list[Any]:
        low, high = self.uniform
        return [low, (low + high) / 2, high]


class LogUniform(Section):
    loguniform: tuple[Annotated[Number, Field(gt=0)], Annotated[Number, Field(gt=0)]]

    @property
    def examples(self) -> list[Any]:
        low, high = self.loguniform
        return [low, (low * high) ** 0.5, high]


class IntegerRange(Section):
    """Whole numbers from the first to the second, both included."""

    integer: tuple[Integer, Integer]

    @property
    def examples(self) -> list[Any]:
        low, high = self.integer
        return [low, min(low + 1, high), high]


class Choice(Section):
    choice: Annotated[tuple[Any, ...], Field(min_length=1)]

    @property
    def examples(self) -> list[Any]:
        return list(self.choice)


def _only_key(value: Any) -> str | None:
    if isinstance(value, Section):
        value = value.model_dump()
    return next(iter(value)) if isinstance(value, dict) and len(value) == 1 else None


Domain = Annotated[
    Annotated[Uniform, Tag("uniform")]
    | Annotated[LogUniform, Tag("loguniform")]
    | Annotated[IntegerRange, Tag("integer")]
    | Annotated[Choice, Tag("choice")],
    Discriminator(
        _only_key,
        custom_error_type="domain",
        custom_error_message=(
            "must be one of {uniform: [low, high]}, {loguniform: [low, high]}, {integer: [low, high]}, "
            "{choice: [value, ...]}"
        ),
    ),
]
Space = dict[str, Domain]


def problems_of(error: ValidationError) -> list[str]:
    """Return one line per mistake: key, value, bound."""
    lines: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        # Members of a union stand in the location by their type or tag, a domain by its tag: not the user's concern.
        unions = r"literal\[|constrained-|network-|float$|int$"
        parts = [str(part) for part in detail["loc"] if not re.match(unions, str(part))]
        key = ".".join(part for before, part in zip(["", *parts], parts, strict=False) if part != before)
        message = re.sub(r"^(Value error, |Input should be )?(must be )?", "", detail["msg"])
        if detail["type"] == "extra_forbidden":
            lines.setdefault(key, f"{key}: unknown key, not one of its section")
        elif detail["type"].startswith("byte_size"):
            lines[key] = f"{key} is {detail['input']!r}, must be a size such as 4GB or 512MiB"
        elif detail["type"] == "missing":
            lines.setdefault(key, f"{key}: missing")
        elif detail["type"] == "value_error" and isinstance(detail["input"], dict):  # of a section as a whole
            lines.setdefault(key, f"{key}: {message}" if key else message)
        else:
            shown = repr(detail["input"])
            shown = shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}…"
            lines[key] = f"{key} is {shown}, must be {message}"
    return list(lines.values())
