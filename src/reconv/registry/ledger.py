"""Every comparison that was made on test images, so that the gate can ask more of the next one on the same.

In tags of the registered model, which all who retrain it share. The same candidate against the same champion on the
same test set is the same comparison, however often it is repeated. A test set that has grown makes it another one, or
each night's growth would be one more chance at the level of the first.
"""

from typing import Any

import numpy as np

from reconv.artifacts import Comparison, Contest
from reconv.errors import ReconvError
from reconv.registry.reference import Reference, load_reference
from reconv.registry.registry import Registry, utc_now
from reconv.registry.version import CANDIDATE, TEST_SET, Version

_COMPARISON = "reconv.comparison."


def comparison_of(registry: Registry, candidate: str, champion: Version | None, reference: Reference) -> Comparison:
    """Return which comparison on these test images this one is, from 1: one more than those before that shared any.

    It is in the ledger when this returns, before anybody has seen how it ends.
    """
    ledger = registry.notes(_COMPARISON)
    opponent = champion.number if champion else None
    known = _find(ledger, candidate, opponent, reference.test_digest)
    made = Comparison(
        candidate=candidate,
        champion=opponent,
        champion_candidate=champion.tags.get(CANDIDATE, "") if champion else "",
        number=int(known["number"]) if known else _next_number(registry, ledger, reference),
        test_set=reference.test_digest,
    )
    if known is None:
        _enter(registry, made, opponent)
    return made


def find_comparison(registry: Registry, version: Version, against: Contest | None) -> Comparison | None:
    """Return the comparison of a registered version in which it won or lost `against` the champion of that time."""
    champion = int(against.champion) if against else None
    candidate, test_set = version.tags[CANDIDATE], version.tags.get(TEST_SET, "")
    known = _find(registry.notes(_COMPARISON), candidate, champion, test_set)
    if known is None:
        return None
    identities = {one.number: one.tags.get(CANDIDATE, "") for one in registry.versions()}
    return Comparison(
        candidate=candidate,
        champion=champion,
        champion_candidate=identities.get(champion, "") if champion else "",
        number=int(known["number"]),
        test_set=test_set,
    )


def restore_comparison(registry: Registry, made: Comparison) -> None:
    """Enter a comparison that results/register.json remembers and the ledger does not: it stands for those before it
    on the same test images, which were lost with it."""
    ledger = registry.notes(_COMPARISON)
    known = _find(ledger, made.candidate, made.champion, made.test_set)
    if known and known["number"] == made.number:
        return
    identities = {one.number: one.tags.get(CANDIDATE) for one in registry.versions()}
    opponent: int | str | None = made.champion
    if made.champion is not None and identities.get(made.champion) != made.champion_candidate:
        opponent = f"lost-{made.champion}"  # this registry's version of that number is another one
    if not _find(ledger, made.candidate, opponent, made.test_set):
        _enter(registry, made, opponent, stands_for=made.number)


def comparisons(registry: Registry) -> dict[str, dict[str, Any]]:
    """CANDIDATE.CHAMPION.TEST_SET -> number, test_set, at. An earlier reconv left TEST_SET out of the key."""
    return registry.notes(_COMPARISON)


def _find(
    ledger: dict[str, dict[str, Any]], candidate: str, opponent: int | str | None, test_set: str
) -> dict[str, Any] | None:
    pair = f"{candidate[:16]}.{opponent or 'none'}"
    entries = [ledger.get(f"{pair}.{test_set}"), ledger.get(pair)]
    return next((one for one in entries if one and one["test_set"] == test_set), None)


def _enter(registry: Registry, made: Comparison, opponent: int | str | None, **more: int) -> None:
    key = f"{_COMPARISON}{made.candidate[:16]}.{opponent or 'none'}.{made.test_set}"
    registry.note(key, {"number": made.number, "test_set": made.test_set, "at": utc_now(), **more})


def _next_number(registry: Registry, ledger: dict[str, dict[str, Any]], reference: Reference) -> int:
    shared: dict[str, bool] = {}
    for entry in ledger.values():
        digest = entry["test_set"]
        if digest not in shared:
            shared[digest] = _shares_images(registry, digest, reference)
    return 1 + sum(int(entry.get("stands_for", 1)) for entry in ledger.values() if shared[entry["test_set"]])


def _shares_images(registry: Registry, digest: str, reference: Reference) -> bool:
    """Of a test set whose images are not known any more it is taken for granted."""
    if digest == reference.test_digest:
        return True
    for version in registry.versions():
        if version.tags.get(TEST_SET) == digest:
            try:
                earlier = load_reference(registry.bundle(version))
            except ReconvError:
                continue
            if earlier is not None:
                return bool(np.isin(reference.test, earlier.test).any())
    return True
