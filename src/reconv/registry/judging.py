"""What the gate says of a candidate: screened against the champion on validation images and then compared on the test
images, unless that was decided before. Called by `register`, and by `reconv retrain --dry-run`.

N images, K classes.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reconv.artifacts import Comparison, Contest, Decision, PairedTest
from reconv.data.arrays import PreparedData, Split
from reconv.params import Params
from reconv.places import seed_dir
from reconv.registry.changes import taken_back
from reconv.registry.gate import (
    Look,
    contest,
    decide,
    evidence,
    fewest_to_screen,
    mcnemar_p_value,
    paired_test,
    screen_level,
    screened_out,
)
from reconv.registry.ledger import comparison_of, find_comparison, restore_comparison
from reconv.registry.outcome import SERVED_SEED, Outcome, other
from reconv.registry.reference import Reference, content_hashes, load_reference, reference_of, save_reference
from reconv.registry.registry import Registry
from reconv.registry.version import CANDIDATE, CONTEST, SCREEN, Version
from reconv.serving.bundle import identity, write_bundle
from reconv.serving.logits import scaled_probabilities

if TYPE_CHECKING:
    from reconv.serving.answering import Answering


class Judgement(NamedTuple):
    decision: Decision
    comparison: Comparison | None
    """None if a person had decided before; of an earlier candidate if this one was screened out."""
    contest: Contest | None = None
    screen: PairedTest | None = None


@dataclass(frozen=True)
class Judged:
    """A candidate's bundle, and what the gate says of it."""

    model: str
    bundle: Path
    opponent: Path
    """The bundle of the other model."""
    identity: str
    reference: Reference
    champion: Version | None
    judgement: Judgement

    @property
    def is_champion(self) -> bool:
        """Already."""
        return self.champion is not None and self.champion.tags.get(CANDIDATE) == self.identity


@contextmanager
def judge(outcome: Outcome, data: PreparedData, params: Params, registry: Registry) -> Iterator[Judged]:
    """The gate's decision on the candidate, which is registered nowhere yet: the comparison is in the ledger, as its
    outcome is seen. The bundle is gone after the block."""
    model, logits_NK = outcome.verdict.candidate, outcome.logits(outcome.verdict.candidate)
    with tempfile.TemporaryDirectory(prefix="reconv-register-") as scratch:
        bundle, opponent = Path(scratch) / "classifier", Path(scratch) / "opponent"
        for out, one in ((bundle, model), (opponent, other(model))):
            trained, temperature = seed_dir(one, SERVED_SEED), outcome.temperature(one)
            write_bundle(out, trained, temperature, data.manifest, params.data.resize, params.data.transparency)
        reference = reference_of(data, scaled_probabilities(logits_NK, outcome.temperature(model)).max(axis=1))
        save_reference(reference, bundle)
        champion, name = registry.champion(), identity(bundle)
        before = _decided_before(name, champion, outcome, registry)
        judgement = before or _compared(name, bundle, champion, outcome, data, params, reference, registry)
        yield Judged(model, bundle, opponent, name, reference, champion, judgement)


def _decided_before(candidate: str, champion: Version | None, outcome: Outcome, registry: Registry) -> Judgement | None:
    """Return what needs no look at the test images: the champion stays champion, what a person took back is not
    promoted again, and a winner that the registry has lost wins again, unless there is another champion by now."""
    known, recorded = registry.candidate(candidate), outcome.registered
    comparison: Comparison | None
    if recorded and recorded.comparison:
        restore_comparison(registry, recorded.comparison)
    if recorded and recorded.comparison and recorded.candidate == candidate:
        comparison, against, screen = recorded.comparison, recorded.contest, recorded.screen
    else:
        tags = known.tags if known else {}
        against = Contest.model_validate_json(tags[CONTEST]) if CONTEST in tags else None
        screen = PairedTest.model_validate_json(tags[SCREEN]) if SCREEN in tags else None
        comparison = find_comparison(registry, known, against) if known else None
    if known and champion and champion.tags.get(CANDIDATE) == candidate:
        decision = Decision(alias="champion", reason=f"it is version {champion.number}, the champion already")
    elif known and (reason := taken_back(registry.changes()).get(known.number)) is not None:
        by_hand = f"`reconv promote {known.number}` overrules that"
        decision = Decision(
            alias="challenger", reason=f"it is version {known.number}, which was taken back ({reason}); {by_hand}"
        )
    elif champion is None and against and against.is_passed:
        won = f"it had beaten version {against.champion}, the champion of that time ({evidence(against)})"
        decision = Decision(alias="champion", reason=f"registered again: {won}")
    else:
        return None
    return Judgement(decision, comparison, against, screen)


def _compared(
    candidate: str,
    bundle: Path,
    champion: Version | None,
    outcome: Outcome,
    data: PreparedData,
    params: Params,
    reference: Reference,
    registry: Registry,
) -> Judgement:
    """Enter the comparison into the ledger, unless the candidate is screened out."""
    rival = None if champion is None else _rival(champion, registry, data)
    screen, not_screened, unseen_N = None, "", np.ones(len(data.test), bool)
    if rival:
        unseen_N, accepted = rival.unseen(data.test), params.register_.false_promotion
        screen, not_screened = _screened(bundle, rival, reference, data, int(unseen_N.sum()), accepted)
        if screen and not screen.is_passed:
            recorded = outcome.registered
            return Judgement(screened_out(screen), recorded.comparison if recorded else None, screen=screen)
    comparison = comparison_of(registry, candidate, champion if rival else None, reference)
    look = Look(comparison.number, params.register_.false_promotion, params.register_.fresh_test_after)
    model, labels_N = outcome.verdict.candidate, data.test.labels
    right_N, other_N = (outcome.logits(one).argmax(axis=1) == labels_N for one in (model, other(model)))
    against = None
    if rival:
        champion_N = _is_right(rival.answering, data.test, data)
        against = contest(right_N[unseen_N], champion_N[unseen_N], look, rival.version)
    guess_N = labels_N == reference.class_counts.argmax()
    over_other, over_guessing = (mcnemar_p_value(right_N, than_N) for than_N in (other_N, guess_N))
    decision = decide(outcome.verdict, look, against, over_other, over_guessing)
    said = decision.model_copy(update={"reason": f"{decision.reason}{not_screened}"})
    return Judgement(said, comparison, against, screen)


@dataclass(frozen=True)
class _Rival:
    """The champion, which takes these images."""

    version: str
    answering: "Answering"
    reference: Reference | None
    """None if an earlier reconv wrote it."""

    def unseen(self, test: Split) -> NDArray[np.bool_]:
        """(N,): those that it was not trained or validated on, as it may have been on what another split tests with."""
        if self.reference is None:
            return np.ones(len(test), bool)
        unseen_N: NDArray[np.bool_] = ~np.isin(content_hashes(test.images), self.reference.development)
        return unseen_N if unseen_N.any() else np.ones(len(test), bool)


def _rival(champion: Version, registry: Registry, data: PreparedData) -> _Rival | None:
    """Return None if the champion takes other images or knows other classes.

    Raises:
        RegistryError: it cannot be fetched, and whoever takes its place would do so unopposed.
    """
    from reconv.serving.answering import Answering

    bundle = registry.bundle(champion)
    answering = Answering(bundle)
    conversion, manifest = answering.conversion, data.manifest
    takes_these = (conversion.shape, conversion.value_range) == (manifest.image_shape, manifest.value_range)
    if not takes_these or set(answering.class_names) != set(manifest.class_names):
        return None
    return _Rival(str(champion.number), answering, load_reference(bundle))


def _screened(
    bundle: Path, rival: _Rival, reference: Reference, data: PreparedData, num_test: int, false_promotion: float
) -> tuple[PairedTest | None, str]:
    """Test the candidate on the validation images that neither was trained on, or say why there is no such test.

    `num_test` of the test images that the champion has not seen.
    """
    from reconv.serving.answering import Answering

    hashes_N = content_hashes(data.validation.images)
    new_N = np.isin(hashes_N, reference.validation)
    new_N &= ~np.isin(hashes_N, rival.reference.trained) if rival.reference else False
    num_new, fewest = int(new_N.sum()), fewest_to_screen(num_test, false_promotion)
    if num_new < fewest:
        why = f"{num_new:,} validation images are known to be new to both, at least {fewest:,} are needed"
        return None, f". There was no screen on validation images: {why}"
    level = screen_level(num_new, num_test, false_promotion)
    right_N, champion_N = (_is_right(one, data.validation, data) for one in (Answering(bundle), rival.answering))
    return paired_test(right_N[new_N], champion_N[new_N], level, rival.version), ""


def _is_right(answering: "Answering", split: Split, data: PreparedData) -> NDArray[np.bool_]:
    """(N,)."""
    number_of = {name: label for label, name in enumerate(data.manifest.class_names)}
    labels_K = np.array([number_of[name] for name in answering.class_names])
    right_N: NDArray[np.bool_] = labels_K[answering.logits(split.images).argmax(axis=1)] == split.labels
    return right_N
