"""The energy that this machine's processors and GPUs say they took. Called by the stages that train and evaluate.

It is the whole machine's, whoever else uses it: no counter knows which process an electron was for.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Thread

from reconv.artifacts import Energy
from reconv.files import AnyPath, write_json

_POWERCAP = Path("/sys/class/powercap")
_SAMPLE_SECONDS = 20.0  # a processor's counter starts again from 0 after 262 kJ, which is 10 minutes of 400 W


@dataclass(frozen=True)
class Counter:
    name: str
    read: Callable[[], float]
    """Joules since some moment in the past."""
    starts_again_at: float = float("inf")
    """After so many joules it counts from 0."""

    def between(self, earlier: float, later: float) -> float:
        return later - earlier if later >= earlier else later + self.starts_again_at - earlier


class EnergyMeter:
    """Adds up what `counters` count, from `before` (name -> joules) on."""

    def __init__(self, counters: list[Counter], before: dict[str, float]) -> None:
        self._counters = counters
        self._last = [counter.read() for counter in counters]
        self.joules = {counter.name: before.get(counter.name, 0.0) for counter in counters}

    def sample(self) -> None:
        """At least once before a counter starts again."""
        for index, counter in enumerate(self._counters):
            try:
                now = counter.read()
            except Exception:  # whatever its driver raises: a counter that is lost stops no training
                continue
            self.joules[counter.name] += counter.between(self._last[index], now)
            self._last[index] = now

    @property
    def energy(self) -> Energy | None:
        """None where nothing counts."""
        if not self._counters:
            return None
        return Energy(joules=sum(self.joules.values()), counters=tuple(self.joules))


@contextmanager
def metered(state: AnyPath | None, is_here: bool = True) -> Iterator[EnergyMeter]:
    """A meter that runs within the block. What it had counted when it was interrupted it finds in the folder `state`.

    Without `is_here`, on a cluster, it counts nothing: the work is done on machines that are not asked.
    """
    file = state / "energy.json" if state else None
    before = {}
    if file and file.exists():
        with suppress(ValueError):
            before = json.loads(file.read_text(encoding="utf-8"))
    meter = EnergyMeter(counters_of_this_machine() if is_here else [], before)
    ended = Event()

    def sample() -> None:
        meter.sample()
        if file and meter.joules:
            write_json(file, meter.joules)

    def sample_until_the_end() -> None:
        while not ended.wait(_SAMPLE_SECONDS):
            sample()

    thread = Thread(target=sample_until_the_end, daemon=True)
    thread.start()
    try:
        yield meter
    finally:
        ended.set()
        thread.join()
        sample()


def counters_of_this_machine() -> list[Counter]:
    """Of each processor (Linux's powercap, Intel and AMD; readable by root, or where an administrator allows it) and
    each NVIDIA GPU since Volta."""
    return [*_processors(), *_gpus()]


def _processors() -> Iterator[Counter]:
    """Their cores, caches and graphics; what the memory takes stands apart, and not everywhere."""
    for folder in sorted(_POWERCAP.glob("intel-rapl:*")):
        energy = folder / "energy_uj"
        with suppress(OSError, ValueError):  # there is no counter, or it may not be read
            name = (folder / "name").read_text(encoding="utf-8").strip()
            if name.startswith("package"):
                limit = _joules_in(folder / "max_energy_range_uj")
                _joules_in(energy)
                yield Counter(name, partial(_joules_in, energy), limit)


def _joules_in(path: Path) -> float:
    return int(path.read_text(encoding="utf-8")) / 1e6


def _gpus() -> Iterator[Counter]:
    import pynvml

    with suppress(pynvml.NVMLError):  # no driver, no GPU, or one that does not count
        pynvml.nvmlInit()
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            _joules_of(handle)
            yield Counter(f"{pynvml.nvmlDeviceGetName(handle)} {index}", partial(_joules_of, handle))


def _joules_of(handle: object) -> float:
    import pynvml

    return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
