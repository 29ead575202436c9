"""What a user calls a model -> it and the one it was compared with, both ready to answer. Called by `reconv demo`."""

from dataclasses import dataclass

from reconv.data.decoding import Conversion
from reconv.errors import RegistryError
from reconv.places import BASELINE, CNN
from reconv.registry.resolving import Resolved, resolve
from reconv.serving.answering import Answering
from reconv.serving.bundle import SERVED

_TITLES = {CNN: "Convolutional network", BASELINE: "Feed-forward network"}
_A_FOLDER = "A folder holds one classifier: only a registered one has its opponent beside it."


@dataclass(frozen=True)
class Contender:
    role: str
    """champion, baseline or what else it is here."""
    title: str
    """What kind of network it is."""
    origin: str
    """Where it comes from."""
    answering: Answering
    is_calibrated: bool


@dataclass(frozen=True)
class Contenders:
    asked_for: Contender
    opponent: Contender | None
    why_alone: str
    """Empty where there is an opponent."""
    warning: str = ""
    """One line about files that could not be checked; empty otherwise."""

    @property
    def all(self) -> tuple[Contender, ...]:
        return (self.asked_for,) if self.opponent is None else (self.asked_for, self.opponent)

    @property
    def conversion(self) -> Conversion:
        """What an image becomes for both, which were trained on the same images."""
        return self.asked_for.answering.conversion


def contenders_of(model: str) -> Contenders:
    """The model, as `resolve` understands it, and its opponent.

    Raises:
        RegistryError: there is no such model.
        ParamsError: neither a project nor a whole name says where to look.
        DataError: a classifier is damaged.
    """
    resolved = resolve(model)
    answering = Answering(resolved.bundle)
    asked_for = Contender(
        role=_role(resolved),
        title=_title(answering),
        origin=resolved.title,
        answering=answering,
        is_calibrated=(resolved.bundle / SERVED).exists(),
    )
    if resolved.registry is None or resolved.version is None:
        return Contenders(asked_for, None, _A_FOLDER)
    try:
        bundle = resolved.registry.opponent(resolved.version)
    except RegistryError as error:
        return Contenders(asked_for, None, f"There is nobody to compare it with: {error}", resolved.warning)
    answering = Answering(bundle)
    role = "baseline" if answering.classifier.arguments["model"] == BASELINE else "opponent"
    opponent = Contender(role, _title(answering), "of the same run", answering, (bundle / SERVED).exists())
    return Contenders(asked_for, opponent, "", resolved.warning)


def _role(resolved: Resolved) -> str:
    if resolved.version is None:
        return "from a folder"
    return "champion" if resolved.version.is_champion else f"version {resolved.version.number}"


def _title(answering: Answering) -> str:
    arguments = answering.classifier.arguments
    of_torchvision: str = arguments["network"].get("model", "")
    model: str = arguments["model"]
    return of_torchvision.removeprefix("torchvision:") or _TITLES.get(model, model)
