"""A version of the registered model, and its tags."""

from collections.abc import Mapping
from dataclasses import dataclass

from reconv.registry.checksums import FILES_SHA256

CHAMPION, CHALLENGER = "champion", "challenger"
CANDIDATE, WEIGHTS_SHA256, TEST_SET = "reconv.candidate", "reconv.weights_sha256", "reconv.test_set"
TEST_ACCURACY, CONTEST, SCREEN = "test_accuracy", "reconv.contest", "reconv.screen"
"""Tags of a version."""


@dataclass(frozen=True)
class Version:
    number: int
    aliases: tuple[str, ...]
    run_id: str
    tags: Mapping[str, str]
    description: str
    created: float
    """Seconds since 1970."""

    @property
    def is_champion(self) -> bool:
        return CHAMPION in self.aliases

    @property
    def has_checksums(self) -> bool:
        return FILES_SHA256 in self.tags

    @property
    def warning(self) -> str:
        """One line if the version was registered without checksums; empty otherwise."""
        if self.has_checksums:
            return ""
        return (
            f"version {self.number} was registered without checksums by an earlier reconv: only its weights are "
            "checked. Register a model again to have all files checked."
        )
