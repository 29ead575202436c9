"""Who was champion when, and why: tags of the registered model, one for each change."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

CHANGE = "reconv.champion."
"""The tags' prefix."""
Kind = Literal["promoted", "by hand", "rolled back"]


@dataclass(frozen=True)
class Change:
    """A change of the champion."""

    version: int
    """The champion from then on."""
    kind: Kind
    reason: str
    at: str


def changes_in(tags: Mapping[str, str]) -> list[Change]:
    """Return the changes in a registered model's tags, the first first."""
    found = sorted((key, value) for key, value in tags.items() if key.startswith(CHANGE))
    return [Change(**json.loads(value)) for _, value in found]


def former_champions(changes: list[Change], present: int) -> list[int]:
    """Versions that were champion before `present`, the last to go back to last: who was taken back is left out."""
    stack: list[int] = []
    for change in changes:
        if change.kind == "rolled back" and change.version in stack:
            del stack[stack.index(change.version) + 1 :]
        elif not stack or stack[-1] != change.version:
            stack.append(change.version)
    if stack and stack[-1] == present:
        stack.pop()
    return [version for version in stack if version != present]


def taken_back(changes: list[Change]) -> dict[int, str]:
    """Versions that a person took back, with the reason, and has not promoted since."""
    taken: dict[int, str] = {}
    champion: int | None = None
    for change in changes:
        if change.kind == "rolled back" and champion is not None:
            taken[champion] = change.reason
        taken.pop(change.version, None)
        champion = change.version
    return taken
