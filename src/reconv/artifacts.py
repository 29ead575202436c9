"""The JSON files that stages exchange, as types."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, field_validator, model_validator

from reconv.domains import problems_of
from reconv.errors import DataError
from reconv.files import digest_of, read_json, write_json

Split = Literal["train", "validation", "test"]
Severity = Literal["error", "warning"]


class Artifact(BaseModel):
    """A JSON file that one stage writes and later ones read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def save(self, path: Path) -> None:
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def load(cls, path: Path, max_bytes: int | None = None) -> Self:
        """Raises DataError if the file is missing, not JSON, larger than `max_bytes`, or holds a wrong value."""
        try:
            return cls.model_validate(read_json(path, max_bytes))
        except ValidationError as error:
            first, *others = problems_of(error)
            more = f", and {len(others)} more" if others else ""
            raise DataError(
                f"{path} is not of the format that this version writes ({first}{more}): delete it and run `dvc repro`."
            ) from None


class SkippedFiles(Artifact):
    """Files in a folder or archive that are not read, for the same reason."""

    reason: str
    count: int
    kinds: tuple[str, ...]
    """The most frequent suffixes, folders or names."""
    files: tuple[str, ...]
    """The first of them."""


class RawSource(Artifact):
    """data/raw/source.json, written last: the files beside it are complete and have these SHA-256 sums."""

    format_version: Literal[1] = 1
    source: str
    class_names: tuple[str, ...]
    files: dict[str, str]
    empty_folders: tuple[str, ...] = Field(default=(), exclude_if=lambda folders: not folders)
    """Folders beside the classes that hold no file; they are not classes."""
    skipped: tuple[SkippedFiles, ...] = Field(default=(), exclude_if=lambda skipped: not skipped)

    @property
    def digest(self) -> str:
        return digest_of({"classes": self.class_names, "files": self.files})


class Manifest(Artifact):
    """data/prepared/manifest.json, written last: the arrays beside it are complete."""

    format_version: Literal[1] = 1
    source: str
    source_digest: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    """Height, width, channels."""
    counts: dict[Split, int]
    mean: tuple[float, ...]
    """Of each channel over the training split, in units of 0 to 255."""
    std: tuple[float, ...]
    value_range: tuple[int, int] = Field(default=(0, 65535), exclude_if=lambda values: values == (0, 65535))
    """The values that became black and white, in images with more than 8 bits."""

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def digest(self) -> str:
        """Of the images, their split and their order."""
        return digest_of(self.model_dump(mode="json"))


class DataPicture(Artifact):
    """An image that a finding shows."""

    split: Split
    index: int
    """Of the image in the split."""
    caption: str


class DataFinding(Artifact):
    """Something about the images that a user should know."""

    kind: str
    """No two findings with pictures are of the same."""
    severity: Severity
    count: int
    """Of the files that it is about; 0 if it is about none in particular."""
    text: str
    files: tuple[str, ...]
    """The first of them, each with what there is to say of it."""
    pictures: tuple[DataPicture, ...]
    """Of the first of them that were packed; in findings.npz they stand by the finding's kind."""


class DataReport(Artifact):
    """data/prepared/data_report.json: what a user should know of the images before training on them."""

    images_per_class: dict[str, dict[str, int]]
    """split -> class name -> count."""
    findings: tuple[DataFinding, ...]


class Energy(Artifact):
    """What the machine's own counters say it took."""

    joules: float
    counters: tuple[str, ...]
    """Names of the processors and GPUs that count."""


class Budget(Artifact):
    """results/search/MODEL/budget.json: what a search was given and what it spent."""

    searcher: str
    num_searches: int = 1
    """One for each final training."""
    budget_epochs: int
    """All searches together; so are the fields below."""
    max_epochs: int
    """Of one trial."""
    seed: int
    data_digest: str
    spent_epochs: int
    device_seconds: float
    energy: Energy | None
    """None where nothing counts."""
    num_trials: int


class Choice(Artifact):
    """What a search ended with."""

    trial: int
    epochs: int
    validation_accuracy: float
    is_incumbent: bool
    """Whether these are the values of params.yaml, which the others had to beat."""
    lead: float | None
    """Accuracy of the best other trial that trained all its epochs, less the incumbent's, on the validation images;
    None without any to compare."""
    lead_error: float | None
    """Its standard error, paired over images."""
    values: dict[str, Any]


class Best(Artifact):
    """results/search/MODEL/best.json."""

    choices: tuple[Choice, ...]
    """Of each search, in the order of the seeds of the final trainings that they are for."""

    @property
    def text(self) -> str:
        """What came of the searches, for the terminal."""
        accuracies = [choice.validation_accuracy for choice in self.choices]
        low, high = (f"{accuracy:.1%}" for accuracy in (min(accuracies), max(accuracies)))
        kept = sum(choice.is_incumbent for choice in self.choices)
        within = low if low == high else f"{low} to {high}"
        return f"validation {within} · {kept} of {len(accuracies)} keep the values of params.yaml"

    def differing(self) -> list[str]:
        """Return the names of the values that are not the same in all of them."""
        first, *others = (choice.values for choice in self.choices)
        return [name for name, value in first.items() if any(other[name] != value for other in others)]


class Conditions(Artifact):
    """results/train/MODEL/conditions.json: under which conditions the final models were trained, so that `compare` can
    lay those of both side by side."""

    data_digest: str
    num_images: int
    epochs: int
    seeds: tuple[int, ...]
    augment: dict[str, Any]
    recipe: dict[str, Any]
    network: dict[str, Any]
    """What the training of the first seed used, those values included that its search chose."""
    by_seed: dict[str, tuple[Any, ...]] = {}
    """Name of a value that the searches chose differently -> what each seed was trained with."""
    weights_sha256: str | None = None
    """Of the pretrained weights that the training began with; None without any."""
    searched: tuple[str, ...]
    """Names of the values that its search chose."""
    precision: str
    device: str


class TrainingCost(Artifact):
    """results/train/MODEL/cost.json."""

    device_seconds: tuple[float, ...]
    """Of each seed."""
    energy: Energy | None
    """Of all seeds; None where nothing counts."""
    wall_seconds: float
    images_per_second: float
    """Of one training, median over epochs and seeds."""
    device: str
    precision: str


class Score(Artifact):
    """A measure over seeds."""

    mean: float
    std: float
    """Sample standard deviation over seeds, 0 for a single seed."""
    seeds: tuple[float, ...]


class LabelCheck(Artifact):
    """How many labels of the validation and test images a model doubts, and how many it would doubt if all were right:
    with labels drawn from its own calibrated probabilities."""

    num_images: int
    doubted: int
    """Labels with a probability of at most 5 %."""
    expected: float
    """As many would be doubted if all were right: the mean over the draws, and the range of 95 % of them."""
    expected_low: int
    expected_high: int
    listed: int
    """Labels that are called probably wrong: those in suspects.csv."""
    listed_expected: float
    """Right labels that are expected to have so small a probability."""

    @property
    def text(self) -> str:
        """A sentence or two for the report."""
        counted = (
            f"The network gives {self.doubted:,} of {self.num_images:,} labels a probability of at most 5 %; if all "
            f"labels were right, it would be {self.expected:,.0f} ({self.expected_low:,} to {self.expected_high:,})."
        )
        if not self.listed:
            return f"{counted} None is called wrong: chance alone would name as many."
        return (
            f"{counted} The {self.listed:,} least probable {'is' if self.listed == 1 else 'are'} listed: if all labels "
            f"were right, about {self.listed_expected:.1f} would be as improbable."
        )


class Metrics(Artifact):
    """results/evaluate/MODEL/metrics.json: measured on the test split."""

    accuracy: Score
    nll: Score
    """Mean negative log-likelihood of the true class, in nats."""
    ece: Score
    """Expected calibration error over 15 bins of equal width."""
    temperature: Score
    """What the logits are divided by, fitted on the validation images."""
    scaled_nll: Score
    scaled_ece: Score
    """With logits / temperature; the answers are the same."""
    scaled_ece_by_chance: float | None = None
    """What a perfectly calibrated model with the scaled confidences would show, mean over seeds; None in the file of an
    earlier version."""
    labels: LabelCheck | None = None
    """None in the file of an earlier version."""
    accuracy_per_class: dict[str, float]
    """Mean over seeds. In the file a list of pairs, which `dvc metrics` leaves out of its table."""
    num_parameters: int
    """Of the first seed's network, as are multiply-adds and latency: the searches may have chosen several."""
    multiply_adds: int
    """Of one image's forward pass."""
    latency_ms: dict[str, float]
    """Batch size -> median milliseconds of one forward pass on this machine."""
    device_seconds: float
    """Of training, mean over seeds."""
    evaluation_device_seconds: float
    """Of predicting validation and test images, all seeds together."""
    evaluation_energy: Energy | None
    """None where nothing counts."""

    @field_validator("accuracy_per_class", mode="before")
    @classmethod
    def _from_pairs(cls, value: Any) -> Any:
        return dict(value) if isinstance(value, list) else value

    @field_serializer("accuracy_per_class")
    def _as_pairs(self, value: dict[str, float]) -> list[tuple[str, float]]:
        return list(value.items())


class Interval(Artifact):
    low: float
    high: float


class ClassDifference(Artifact):
    """Accuracy of the CNN minus that of the feed-forward network on the test images of one class."""

    name: str
    num_images: int
    difference: float
    interval: Interval
    """Of this class alone."""
    adjusted_p_value: float
    """Corrected for the number of classes."""


class Condition(Artifact):
    """One line of the audit: what both models were given."""

    name: str
    cnn: str
    feedforward: str
    is_own: bool
    """What each model's search chose for itself, and may differ."""
    is_unequal: bool = False
    """What one of them was given and the other was not: the verdict is about the network and this together."""


class Guessing(Artifact):
    """The accuracy of always answering the largest class of the training images."""

    class_name: str
    accuracy: float
    """The share of that class among the test images."""
    over: dict[str, Interval]
    """Model -> interval of its accuracy minus this one."""
    no_better: tuple[str, ...]
    """Models that are not proven better than guessing, or give nearly all images the same answer."""
    text: str
    """A sentence about these models; empty if there are none."""


class Compute(Artifact):
    """What a model's search and final training took. Equal epochs are not equal compute."""

    search_device_seconds: float
    training_device_seconds: float
    """Of all seeds."""
    search_flops: float
    """Floating-point operations: two for each multiply-add, and three times those of a forward pass, since a backward
    pass takes about two; with the network of the final training in the place of each trial's."""
    training_flops: float

    @property
    def device_seconds(self) -> float:
        return self.search_device_seconds + self.training_device_seconds

    @property
    def flops(self) -> float:
        return self.search_flops + self.training_flops


class Verdict(Artifact):
    """results/compare/verdict.json."""

    accuracy: dict[str, float]
    accuracy_interval: dict[str, Interval]
    difference: float
    """Accuracy of the CNN minus that of the feed-forward network, mean over seeds and test images."""
    difference_interval: Interval
    confidence: float
    detectable_difference: float
    """The smallest true difference that this test set and these seeds would have shown with probability `power`."""
    power: float
    probability_of_cnn: float
    """That a CNN trained once more beats a feed-forward network trained once more, on as many test images."""
    p_value: float
    """Two-sided, of no difference."""
    classes: tuple[ClassDifference, ...]
    """Those with test images."""
    audit: tuple[Condition, ...]
    budgets: dict[str, Budget]
    notes: tuple[str, ...]
    """What a reader should keep in mind: a single seed, few test images, a model that knows one answer."""
    winner: str | None
    """None: the interval contains 0."""
    text: str
    why: str
    """What the study says of it in one sentence; empty where it is not enabled."""
    guessing: Guessing | None = None
    """None in the file of an earlier version."""
    compute: dict[str, Compute] = Field(default={})
    """Of each model; empty in the file of an earlier version."""

    @model_validator(mode="before")
    @classmethod
    def _of_an_earlier_version(cls, value: Any) -> Any:
        """Leave out McNemar's test on the majority of seeds, which earlier versions wrote."""
        return {k: v for k, v in value.items() if k != "mcnemar"} if isinstance(value, dict) else value

    @property
    def candidate(self) -> str:
        """The model to register: the winner, or the more accurate one where nobody wins."""
        return self.winner or max(self.accuracy, key=self.accuracy.__getitem__)

    @property
    def compute_ratios(self) -> tuple[float, float] | None:
        """Device-seconds and FLOPs of the CNN divided by those of the feed-forward network."""
        if not self.compute:
            return None
        cnn, other = self.compute["cnn"], self.compute["feedforward"]
        return cnn.device_seconds / max(other.device_seconds, 1e-9), cnn.flops / max(other.flops, 1.0)

    @property
    def about_compute(self) -> str:
        """A sentence; empty where it is not known."""
        if self.compute_ratios is None:
            return ""
        seconds, flops = self.compute_ratios
        return (
            f"Search and final training of the CNN took {seconds:.1f} times the device-seconds and {flops:.1f} times "
            "the floating-point operations of the feed-forward network's."
        )

    def as_metrics(self) -> dict[str, float]:
        """The numbers that `dvc metrics` and MLflow show."""
        return {
            **{
                f"{model}_{name}": value
                for model, one in self.compute.items()
                for name, value in (("device_seconds", one.device_seconds), ("flops", one.flops))
            },
            **({"guessing": self.guessing.accuracy} if self.guessing else {}),
            "difference": self.difference,
            "difference_low": self.difference_interval.low,
            "difference_high": self.difference_interval.high,
            "detectable_difference": self.detectable_difference,
            "probability_of_cnn": self.probability_of_cnn,
        }


class Finding(Artifact):
    """What one experiment of the study showed."""

    name: str
    title: str
    text: str
    numbers: dict[str, float]


class Study(Artifact):
    """results/study/study.json; the tables stand beside it."""

    enabled: bool
    profile: str
    num_seeds: int
    max_epochs: int
    confidence: float
    """Of the intervals in the findings; 0 without any."""
    findings: tuple[Finding, ...]
    device_seconds: float
    """Of its trainings."""
    energy: Energy | None
    """None where nothing counts."""

    def as_metrics(self) -> dict[str, float]:
        return {f"{one.name}_{name}": value for one in self.findings for name, value in one.numbers.items()}


class FirstFilter(Artifact):
    label: Literal["edge", "corner", "colour", "other"]
    likeness: float
    """Cosine between the filter and the pattern that it responds to most."""
    orientation_selectivity: float
    """0: all orientations alike, 1: one alone."""


class Answer(Artifact):
    """What the network says of one test image."""

    image: int
    """Its index in the test split."""
    actual: str
    predicted: str
    confidence: float
    """Calibrated."""


class Suspect(Artifact):
    """A label that is probably wrong."""

    file: str
    label: str
    suggested: str
    confidence: float
    """Of the suggested class, calibrated, mean over seeds."""


class Layer(Artifact):
    """What excites the channels of one block of the CNN most."""

    sees: int
    """Pixels a side that one of its values depends on."""
    num_channels: int
    """Those that some test image excites."""
    share_of_one_class: float
    """Of the images that excite a channel most, those of their commonest class; mean over channels."""


class Explanation(Artifact):
    """results/explain/explanation.json; the pictures stand beside it."""

    filters: tuple[FirstFilter, ...]
    sobel_correlation: float
    layers: tuple[Layer, ...]
    share_by_chance: float
    """Of one class among as many images drawn from all."""
    answers: tuple[Answer, ...]
    """The surest right and the surest wrong one of each class, or of those with the most mistakes."""
    mistakes: tuple[Answer, ...]
    """The surest first."""
    suspects: tuple[Suspect, ...]
    """The least credible first."""
    num_suspects: int
    """Those not shown as well."""
    text: str

    def as_metrics(self) -> dict[str, float]:
        labels = [one.label for one in self.filters]
        shares = {label: labels.count(label) / len(labels) for label in sorted(set(labels))}
        return {
            **{f"share_{label}": share for label, share in shares.items()},
            "sobel": self.sobel_correlation,
            **{f"layer_{i}_one_class": layer.share_of_one_class for i, layer in enumerate(self.layers, start=1)},
        }


class PairedTest(Artifact):
    """A candidate against the champion on the same images, of which neither was trained on any."""

    champion: str
    """Its version."""
    level: float
    """The largest p value that passes."""
    num_images: int
    accuracy: float
    champion_accuracy: float
    only_candidate: int
    """Images that only the candidate gets right."""
    only_champion: int
    p_value: float

    @property
    def is_passed(self) -> bool:
        return self.p_value <= self.level


class Contest(PairedTest):
    """On test images: a candidate that passes is promoted."""

    number: int
    """Of the comparisons on this test set, from 1."""
    detectable_difference: float
    """The true difference that this comparison would have found with probability 0.8."""
    detectable_at_first: float
    """The one that a first comparison on this test set would have."""
    fresh_test_due: bool


class Decision(Artifact):
    """Of the gate."""

    alias: Literal["champion", "challenger"]
    reason: str


class Comparison(Artifact):
    """An entry of the ledger of comparisons."""

    candidate: str
    """Identity of the classifier that was compared."""
    champion: int | None
    """The version that it was compared with; None where there was no champion that takes these images."""
    champion_candidate: str
    """Identity of that version; empty where it is not known or there was none."""
    number: int
    """Number of the comparison on these test images, from 1."""
    test_set: str
    """Digest of the test images."""


class RegistryState(Artifact):
    """results/registry.json: how often MLflow's registry had lost what was registered. A loss makes `register` run."""

    times_lost: int


class Registration(Artifact):
    """results/register.json: what became of the winner."""

    name: str
    version: int
    alias: Literal["champion", "challenger"]
    model: str
    seed: int
    run_id: str
    reason: str
    contest: Contest | None
    """None where there was no champion that takes these images, or the candidate was screened out."""
    replaced: int | None
    """Version of the champion before, if it is another one."""
    screen: PairedTest | None = None
    """On validation images, before any test image is used. None where there was no screen, or in the file of an earlier
    version."""
    identity: str = ""
    """Of the classifier; empty in the file of an earlier version."""
    comparison: Comparison | None = None
    """The one that decided, or the one before it if the candidate was screened out: a lost registry counts from there.
    None in the file of an earlier version, or if a person had decided before."""
    times_lost: int = 0
    """As results/registry.json said."""

    @property
    def candidate(self) -> str:
        """Identity of the classifier, as far as it is known."""
        return self.identity or (self.comparison.candidate if self.comparison else "")
