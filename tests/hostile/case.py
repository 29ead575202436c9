"""What a case of the corpus is."""

from dataclasses import dataclass
from typing import Generic, TypeVar

Make = TypeVar("Make")


@dataclass(frozen=True)
class Case(Generic[Make]):
    """One bad thing beside good images, and what becomes of it.

    `wanted` is `usable`; `unusable: words` (left out and named, with these words, as a bad image); `skipped: words`
    (likewise, as something else than an image of a class); `stops: words` (a DataError with them); `ignored` (as if it
    were not there).
    """

    name: str
    make: Make
    wanted: str

    def __str__(self) -> str:
        return self.name
