"""params.yaml -> validated, frozen Params. Called as the first line of every stage.

Defaults stand in params.yaml alone: a missing key is as much an error as an unknown one.
"""

import re
from collections.abc import Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    ByteSize,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from reconv.domains import (
    Choice,
    Domain,
    Integer,
    KernelSize,
    NonNegativeInt,
    Number,
    NumLayers,
    NumUnits,
    PositiveInt,
    Probability,
    Section,
    Seed,
    Share,
    Side,
    Space,
    Widths,
    problems_of,
)
from reconv.errors import ParamsError
from reconv.yaml_files import parse_yaml

PARAMS_FILE = Path("params.yaml")
_MAX_NAME_BYTES = 200


ColumnName = Annotated[str, Field(min_length=1)]


class ColumnsParams(Section):
    """How a table names its columns, where it does not by the usual names."""

    path: ColumnName | None = None
    """A column, or a pattern such as images/{id}.png."""
    label: ColumnName | None = None
    split: ColumnName | None = None


PLAIN_COLUMNS = ColumnsParams()
"""The columns of a table that has the usual names."""


class DataParams(Section):
    source: Annotated[str, Field(min_length=1)]
    validation: Share
    seed: NonNegativeInt
    test: Share
    image_size: Side
    channels: Literal["auto", 1, 3]
    resize: Literal["crop", "pad", "stretch"]
    transparency: Literal["ignore", "white", "black"] = "ignore"
    """An optional key, since it came later."""
    group: ColumnName | None
    columns: ColumnsParams = PLAIN_COLUMNS
    """An optional key, since it came later."""
    on_bad_image: Literal["quarantine", "fail"]
    max_bad_share: Annotated[Number, Field(ge=0, lt=1)]
    allow_leakage: bool


class AugmentParams(Section):
    crop: NonNegativeInt
    flip: bool


class RecipeParams(Section):
    optimizer: Literal["adamw", "muon"]
    lr: Annotated[Number, Field(gt=0, le=10)]
    weight_decay: Annotated[Number, Field(ge=0, le=10)]
    batch_size: PositiveInt
    label_smoothing: Probability
    test_time_flip: bool
    warmup: Share
    precision: Literal["auto", "bf16", 32]


class CnnParams(Section):
    widths: Widths
    convolutions: NumLayers
    kernel_size: KernelSize
    shared_weights: bool
    pooling: Literal["max", "average", "strided"]
    batch_norm: bool
    whitened: bool
    residual: bool
    head: Literal["flatten", "average"]
    hidden: NumUnits
    dropout: Probability

    @field_validator("kernel_size")
    @classmethod
    def _is_odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd, so that a convolution keeps the size of its input")
        return value


class TransferParams(Section):
    """A network of torchvision's in the place of the own CNN."""

    model: str
    weights: Annotated[str, Field(min_length=1)]
    """none, default, or the path of a file."""
    frozen: Annotated[Number, Field(ge=0, le=1)]
    dropout: Probability

    @field_validator("model")
    @classmethod
    def _is_of_torchvision(cls, value: str) -> str:
        if not re.fullmatch(r"torchvision:\w+", value):
            raise ValueError("torchvision:NAME, such as torchvision:resnet18")
        return value

    @property
    def is_pretrained(self) -> bool:
        return self.weights != "none"

    def frozen_epochs(self, epochs: int) -> int:
        """How many of a training's `epochs`, its first, teach the classes' layer alone; none without pretrained
        weights, as there is nothing to keep."""
        return round(self.frozen * epochs) if self.is_pretrained else 0


class FeedforwardParams(Section):
    widths: Widths
    batch_norm: bool
    dropout: Probability


NetworkParams = CnnParams | TransferParams | FeedforwardParams


def _kind_of_cnn(section: Any) -> str:
    names_a_model = isinstance(section, TransferParams) or (isinstance(section, dict) and "model" in section)
    return "network-transfer" if names_a_model else "network-own"


class ModelsParams(Section):
    cnn: Annotated[
        Annotated[CnnParams, Tag("network-own")] | Annotated[TransferParams, Tag("network-transfer")],
        Discriminator(_kind_of_cnn),
    ]
    feedforward: FeedforwardParams


def network_params(model: str, values: dict[str, Any]) -> NetworkParams:
    """The section models.MODEL with these values.

    Raises:
        KeyError: no such model.
        ValueError: the values are none of its networks'.
    """
    section: NetworkParams = _section_type(model).validate_python(values)
    return section


@cache
def _section_type(model: str) -> TypeAdapter[Any]:
    return TypeAdapter(ModelsParams.model_fields[model].rebuild_annotation())


class SearchParams(Section):
    budget_epochs: PositiveInt
    max_epochs: PositiveInt
    grace_epochs: PositiveInt
    reduction_factor: Annotated[Integer, Field(ge=2)]
    min_lead: Annotated[Number, Field(ge=0)]
    reproducible: bool
    seed: NonNegativeInt
    space: dict[str, Space]

    @model_validator(mode="after")
    def _epochs_fit(self) -> "SearchParams":
        if not self.grace_epochs <= self.max_epochs <= self.budget_epochs:
            raise ValueError(
                f"grace_epochs ({self.grace_epochs}) <= max_epochs ({self.max_epochs}) <= "
                f"budget_epochs ({self.budget_epochs}) must hold"
            )
        return self


class TrainParams(Section):
    max_epochs: PositiveInt
    num_seeds: PositiveInt


class EvaluateParams(Section):
    batch_size: PositiveInt
    latency_batch_sizes: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class StudyProfile(Section):
    max_epochs: PositiveInt
    num_seeds: PositiveInt
    train_images: PositiveInt
    perturbed_images: PositiveInt


class StudyParams(Section):
    enabled: bool
    profile: str
    profiles: Annotated[dict[str, StudyProfile], Field(min_length=1)]
    pixel_order: Seed
    shares: tuple[Annotated[Number, Field(gt=0, lt=1)], ...]
    max_shift: PositiveInt
    image_sizes: Annotated[tuple[Side, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _profile_is_known(self) -> "StudyParams":
        if self.profile not in self.profiles:
            raise ValueError(f"profile is {self.profile!r}, must be one of profiles: {', '.join(self.profiles)}")
        return self

    @property
    def size(self) -> StudyProfile:
        return self.profiles[self.profile]


class CompareParams(Section):
    confidence: Annotated[Number, Field(ge=0.5, lt=1)]
    num_resamples: Annotated[Integer, Field(ge=100)]
    budget_tolerance: Annotated[Number, Field(ge=0, lt=1)]
    seed: NonNegativeInt


class ReportParams(Section):
    price_per_device_hour: Annotated[Number, Field(ge=0)]
    currency: Annotated[str, Field(min_length=1, max_length=8)]
    watts_per_device: Annotated[Number, Field(ge=0)]


def registered_name(value: str) -> str:
    """Return `value` if a model can be registered under it: MLflow uses it in paths, URIs and filters.

    Raises:
        ValueError: says what a name must be.
    """
    is_plain = value.isprintable() and value == value.strip() and not set(value) & set("/\\:'\"`")
    if not is_plain or value in ("", ".", "..") or len(value.encode()) > _MAX_NAME_BYTES:
        raise ValueError(
            f"a name of 1 to {_MAX_NAME_BYTES} bytes without / \\ : quotes, control characters or spaces at its ends, "
            "and not . or .."
        )
    return value


class RegisterParams(Section):
    false_promotion: Annotated[Number, Field(gt=0, le=0.5)]
    fresh_test_after: PositiveInt
    name: Annotated[str, AfterValidator(registered_name)]


class TrainResources(Section):
    workers: tuple[PositiveInt, PositiveInt]
    """Fewest and most."""

    @field_validator("workers", mode="before")
    @classmethod
    def _is_number_or_range(cls, value: Any) -> Any:
        fewest, most = value if isinstance(value, list | tuple) and len(value) == 2 else (value, value)
        if not (type(fewest) is type(most) is int and 1 <= fewest <= most):
            raise ValueError("must be a number of workers, from 1 on, or [fewest, most] of them")
        return fewest, most


class ResourcesParams(Section):
    ray_address: str | None
    storage: str | None
    tracking_uri: str | None
    cpus_per_trial: PositiveInt
    gpus_per_trial: Literal["auto"] | Annotated[Number, Field(ge=0, le=1)]
    memory_per_trial: Annotated[ByteSize, Field(gt=0)] | None
    train: TrainResources


THIS_MACHINE = ResourcesParams(
    ray_address=None,
    storage=None,
    tracking_uri=None,
    cpus_per_trial=1,
    gpus_per_trial="auto",
    memory_per_trial=None,
    train=TrainResources(workers=(1, 1)),
)
"""For commands that are used outside of a project's folder."""


class Params(Section):
    data: DataParams
    augment: AugmentParams
    recipe: RecipeParams
    models: ModelsParams
    search: SearchParams
    train: TrainParams
    evaluate: EvaluateParams
    study: StudyParams
    compare: CompareParams
    report: ReportParams
    register_: Annotated[RegisterParams, Field(alias="register")]
    resources: ResourcesParams

    @model_validator(mode="after")
    def _space_is_of_known_values(self) -> "Params":
        models = list(ModelsParams.model_fields)
        for model in {*self.search.space} ^ {*models}:
            problem = "missing" if model in models else f"known models are {', '.join(models)}"
            raise ValueError(f"search.space.{model}: {problem}")
        for model, space in self.search.space.items():
            known = [*RecipeParams.model_fields, *type(self.network(model)).model_fields]
            for name, domain in space.items():
                self._check_domain(f"search.space.{model}.{name}", model, name, domain, known)
        return self

    def _check_domain(self, key: str, model: str, name: str, domain: Domain, known: list[str]) -> None:
        """Both bounds and a value between them, or each choice, must be valid for `name`."""
        if name not in known:
            raise ValueError(f"{key}: no such value, known are {', '.join(known)}")
        examples = domain.examples
        if not isinstance(domain, Choice) and not examples[0] < examples[-1]:
            raise ValueError(f"{key} is [{examples[0]}, {examples[-1]}]: the first bound must lie below the second")
        for value in examples:
            try:
                self.with_values(model, {name: value})
            except ParamsError as error:
                reason = str(error).splitlines()[0].removeprefix(f"models.{model}: ")
                raise ValueError(f"{key}: {reason}") from None

    def network(self, model: str) -> NetworkParams:
        """The section models.MODEL."""
        section: NetworkParams = getattr(self.models, model)
        return section

    def networks_tried(self, model: str) -> list[NetworkParams]:
        """The section models.MODEL with each `model` and `weights` that its search may choose."""
        space = self.search.space[model]
        names = [name for name in ("model", "weights") if name in space]
        choices = product(*(space[name].examples for name in names))
        return [self.with_values(model, dict(zip(names, values, strict=True)))[1] for values in choices]

    def with_values(self, model: str, values: dict[str, Any]) -> tuple[RecipeParams, NetworkParams]:
        """The recipe and the network of `model` with `values` (name -> value, of either) laid over them.

        Raises:
            ParamsError: a value is out of its bounds, or of no known name.
        """
        network = self.network(model)
        recipe_values = {k: v for k, v in values.items() if k in RecipeParams.model_fields}
        network_values = {k: v for k, v in values.items() if k not in RecipeParams.model_fields}
        try:
            recipe = RecipeParams(**{**self.recipe.model_dump(), **recipe_values})
            return recipe, type(network)(**{**network.model_dump(), **network_values})
        except ValidationError as error:
            raise ParamsError(f"models.{model}: {_explain(error)}") from None


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check `path`.

    Raises:
        ParamsError: names the key, its value, and the bound that it breaks.
    """
    return check_params(read_params(path))


def read_params(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """Read the values of `path` unchecked.

    Raises:
        ParamsError: it is missing, or is not YAML with sections.
    """
    try:
        raw = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path} is missing: run in the project's folder.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParamsError(f"{path} cannot be read: {error}") from None
    if not isinstance(raw, dict):
        raise ParamsError(f"{path} holds {type(raw).__name__}, must hold sections such as `data:`.")
    return raw


def check_params(raw: Mapping[str, Any]) -> Params:
    """Check the values from `read_params` and return them as the sections that stages use.

    Raises:
        ParamsError: names the key, its value, and the bound that it breaks.
    """
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise ParamsError(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    """One line per mistake: key, value, bound; then the remedy."""
    return "\n".join(problems_of(error)) + "\nChange it in params.yaml."
