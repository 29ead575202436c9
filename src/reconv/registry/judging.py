"""What the gate says of a candidate: compared with the champion on the test images, unless that was decided before.
Called by `register`, and by `reconv retrain --dry-run`.

N test images, K classes.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reconv.artifacts import Comparison, Contest, Decision
from reconv.data.arrays import PreparedData
from reconv.data.shards import AnyImages
from reconv.params import Params
from reconv.places import seed_dir
from reconv.registry.changes import taken_back
from reconv.registry.gate import Look, contest, decide, evidence, mcnemar_p_value
from reconv.registry.ledger import comparison_of, find_comparison, restore_comparison
from reconv.registry.outcome import SERVED_SEED, Outcome, other
from reconv.registry.reference import Reference, content_hashes, load_reference, reference_of, save_reference
from reconv.registry.registry import Registry
from reconv.registry.version import CANDIDATE, CONTEST, Version
from reconv.serving.bundle import identity, write_bundle
from reconv.serving.logits import scaled_probabilities


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
    decision: Decision
    comparison: Comparison | None
    """None if a person had decided before."""
    contest: Contest | None

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
        decision, comparison, against = before or _compared(name, champion, outcome, data, params, reference, registry)
        yield Judged(model, bundle, opponent, name, reference, champion, decision, comparison, against)


_Judgement = tuple[Decision, Comparison | None, Contest | None]


def _decided_before(
    candidate: str, champion: Version | None, outcome: Outcome, registry: Registry
) -> _Judgement | None:
    """Return what needs no look at the test images: the champion stays champion, what a person took back is not
    promoted again, and a winner that the registry has lost wins again, unless there is another champion by now."""
    known, recorded = registry.candidate(candidate), outcome.registered
    comparison: Comparison | None
    if recorded and recorded.comparison:
        restore_comparison(registry, recorded.comparison)
    if recorded and recorded.comparison and recorded.comparison.candidate == candidate:
        comparison, against = recorded.comparison, recorded.contest
    else:
        against = _contest_of(known)
        comparison = find_comparison(registry, candidate, against)
    if known and champion and champion.tags.get(CANDIDATE) == candidate:
        decision = Decision(alias="champion", reason=f"it is version {champion.number}, the champion already")
    elif known and (reason := taken_back(registry.changes()).get(known.number)) is not None:
        by_hand = f"`reconv promote {known.number}` overrules that"
        decision = Decision(
            alias="challenger", reason=f"it is version {known.number}, which was taken back ({reason}); {by_hand}"
        )
    elif champion is None and against and against.p_value <= against.level:
        won = f"it had beaten version {against.champion}, the champion of that time ({evidence(against)})"
        decision = Decision(alias="champion", reason=f"registered again: {won}")
    else:
        return None
    return decision, comparison, against


def _contest_of(version: Version | None) -> Contest | None:
    text = version.tags.get(CONTEST) if version else None
    return Contest.model_validate_json(text) if text else None


def _compared(
    candidate: str,
    champion: Version | None,
    outcome: Outcome,
    data: PreparedData,
    params: Params,
    reference: Reference,
    registry: Registry,
) -> _Judgement:
    labels_N = data.test.labels
    answers_N = None if champion is None else _answers_of(champion, registry, data)
    rival = champion if answers_N is not None else None
    comparison = comparison_of(registry, candidate, rival, reference)
    look = Look(comparison.number, params.register_.false_promotion, params.register_.fresh_test_after)
    model = outcome.verdict.candidate
    right_N, other_N = (outcome.logits(one).argmax(axis=1) == labels_N for one in (model, other(model)))
    against = None
    if rival is not None and answers_N is not None:
        unseen_N = _unseen(rival, registry, data.test.images)
        correct_N = answers_N == labels_N
        against = contest(right_N[unseen_N], correct_N[unseen_N], look, str(rival.number))
    guess_N = labels_N == reference.class_counts.argmax()
    over_other, over_guessing = (mcnemar_p_value(right_N, than_N) for than_N in (other_N, guess_N))
    return decide(outcome.verdict, look, against, over_other, over_guessing), comparison, against


def _answers_of(version: Version, registry: Registry, data: PreparedData) -> NDArray[np.int64] | None:
    """(N,) of the classes that a registered classifier gives the test images; None if it takes other images or knows
    other classes.

    Raises:
        RegistryError: it cannot be fetched, and whoever takes its place would do so unopposed.
    """
    from reconv.serving.answering import Answering

    answering = Answering(registry.bundle(version))
    conversion, manifest = answering.conversion, data.manifest
    takes_these = (conversion.shape, conversion.value_range) == (manifest.image_shape, manifest.value_range)
    if not takes_these or set(answering.class_names) != set(manifest.class_names):
        return None
    number_of = {name: label for label, name in enumerate(data.manifest.class_names)}
    labels_K = np.array([number_of[name] for name in answering.class_names])
    answers_N: NDArray[np.int64] = labels_K[answering.logits(data.test.images).argmax(axis=1)]
    return answers_N


def _unseen(champion: Version, registry: Registry, images_N: AnyImages) -> NDArray[np.bool_]:
    """(N,): those that the champion was not trained on, as it may have been on what another split tests with."""
    reference = load_reference(registry.bundle(champion))
    if reference is None:
        return np.ones(len(images_N), bool)
    unseen_N: NDArray[np.bool_] = ~np.isin(content_hashes(images_N), reference.development)
    return unseen_N if unseen_N.any() else np.ones(len(images_N), bool)
