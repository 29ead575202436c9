"""What stands in params.yaml: checked types, a section, and the domains of the search's space. Used by params.py."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

# Strict: `true` is no number, "3" is none either.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Share = Annotated[Number, Field(gt=0, lt=1)]
Probability = Annotated[Number, Field(ge=0, lt=1)]
Integer = Annotated[int, Field(strict=True)]
PositiveInt = Annotated[Integer, Field(ge=1)]
NonNegativeInt = Annotated[Integer, Field(ge=0)]
Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


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
