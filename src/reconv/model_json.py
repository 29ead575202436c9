"""model.json: which network a trained classifier is, and what turns images into its input. Imports no torch."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from reconv.artifacts import Artifact
from reconv.domains import Integer, Number, Seed, Side, problems_of
from reconv.params import ModelsParams, NetworkParams, network_params

MODEL = "model.json"
_MAX_BYTES = 16 * 2**20
_MAX_CLASSES = 100_000
# For champions that were registered before these values existed.
_OF_OLD = {"cnn": {"whitened": False, "shared_weights": True}}

Shape = tuple[Side, Side, Annotated[Integer, Field(ge=1, le=3)]]
"""Height, width, channels."""
ClassNames = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1, max_length=_MAX_CLASSES)]
Pixel = Annotated[Number, Field(ge=0, le=255)]


class ModelJson(Artifact):
    """The arguments of an ImageClassifier."""

    model: str
    network: dict[str, Any]
    """A section of params.yaml's `models`."""
    image_shape: Shape
    class_names: ClassNames
    mean: Annotated[tuple[Pixel, ...], Field(min_length=1, max_length=3)]
    std: Annotated[tuple[Annotated[Pixel, Field(gt=0)], ...], Field(min_length=1, max_length=3)]
    flips: Annotated[bool, Field(strict=True)] = False
    pixel_order: Seed | None = None
    input_shape: Shape | None = None
    """The shape that the network sees, if it is not the image's own."""
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """The digest of the pretrained weights that it was trained from."""

    @field_validator("class_names")
    @classmethod
    def _are_distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("distinct names")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.model not in ModelsParams.model_fields:
            raise ValueError(f"model is {self.model!r}, must be one of {', '.join(ModelsParams.model_fields)}")
        channels = (self.input_shape or self.image_shape)[2]
        for name in ("mean", "std"):
            if len(getattr(self, name)) != channels:
                raise ValueError(f"{name} has {len(getattr(self, name))} values, must have {channels}, one per channel")
        try:
            self.network_params()
        except ValidationError as error:
            raise ValueError("; ".join(f"network.{problem}" for problem in problems_of(error))) from None
        return self

    def network_params(self) -> NetworkParams:
        of_old = {} if "model" in self.network else _OF_OLD.get(self.model, {})
        return network_params(self.model, {**of_old, **self.network})


def read_model_json(folder: Path) -> ModelJson:
    """Raises DataError if model.json is missing, damaged, or holds a value out of its bounds."""
    return ModelJson.load(folder / MODEL, _MAX_BYTES)
