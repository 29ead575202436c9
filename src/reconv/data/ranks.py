"""Which part of a batch is whose where several processes train one classifier. Free of torch, as drivers are."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rank:
    """One of the processes that train one classifier together; by itself it is the only one."""

    number: int = 0
    of: int = 1

    @property
    def is_first(self) -> bool:
        """The one that reports and saves."""
        return self.number == 0

    def part(self, count: int) -> slice:
        """Its share of `count` things in a row; shares differ by one at most."""
        return slice(count * self.number // self.of, count * (self.number + 1) // self.of)

    def weight(self, count: int) -> float:
        """What a mean over its part is multiplied by, so that the mean over ranks is the mean of all `count`."""
        part = self.part(count)
        num_own: int = part.stop - part.start
        return num_own * self.of / count


ALONE = Rank()
