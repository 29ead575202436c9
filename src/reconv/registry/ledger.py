"""Every comparison that was made on test images, so that the gate can ask more of the next one on the same.

In tags of the registered model, which all who retrain it share. The same candidate against the same champion is the
same comparison, however often it is repeated.
"""

from typing import Any

import numpy as np

from reconv.errors import ReconvError
from reconv.registry.reference import Reference, load_reference
from reconv.registry.registry import Registry, utc_now
from reconv.registry.version import TEST_SET

_COMPARISON = "reconv.comparison."


def look_number(registry: Registry, candidate: str, champion: int | None, reference: Reference) -> int:
    """Which comparison on these test images this one is, from 1: one more than those before that shared any of them.

    It is in the ledger when this returns, before anybody has seen how it ends.
    """
    ledger = registry.notes(_COMPARISON)
    key = f"{candidate[:16]}.{champion or 'none'}"
    if key in ledger:
        return int(ledger[key]["number"])
    shared: dict[str, bool] = {}
    for entry in ledger.values():
        digest = entry["test_set"]
        if digest not in shared:
            shared[digest] = _shares_images(registry, digest, reference)
    number = 1 + sum(shared[entry["test_set"]] for entry in ledger.values())
    entry = {"number": number, "test_set": reference.test_digest, "at": utc_now()}
    registry.note(f"{_COMPARISON}{key}", entry)
    return number


def comparisons(registry: Registry) -> dict[str, dict[str, Any]]:
    """CANDIDATE.CHAMPION -> number, test_set, at."""
    return registry.notes(_COMPARISON)


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
