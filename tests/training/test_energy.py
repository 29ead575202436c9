"""Folders as Linux's powercap makes them; real counters are there on few machines."""

import json
import time
from pathlib import Path

import pytest

from reconv.files import write_text
from reconv.training import energy
from reconv.training.energy import Counter, EnergyMeter, counters_of_this_machine, metered

POWERCAP = Path("powercap")


def processor(number: int, microjoules: int = 5_000_000, name: str = "package-0", limit: int = 262_143_328_850) -> Path:
    folder = POWERCAP / f"intel-rapl:{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{limit}\n")
    return folder


@pytest.fixture(autouse=True)
def this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "_POWERCAP", POWERCAP)
    monkeypatch.setattr(energy, "_gpus", lambda: iter(()))


def test_what_every_processor_took_is_added_up() -> None:
    one, other = processor(0), processor(1, name="package-1")

    with metered(None) as meter:
        (one / "energy_uj").write_text("12000000")
        (other / "energy_uj").write_text("6500000")

    assert meter.energy is not None
    assert meter.energy.joules == pytest.approx(7 + 1.5)
    assert meter.energy.counters == ("package-0", "package-1")


def test_a_counter_that_starts_again_goes_on() -> None:
    folder = processor(0, microjoules=99_000_000, limit=100_000_000)

    with metered(None) as meter:
        (folder / "energy_uj").write_text("4000000")

    assert meter.energy is not None
    assert meter.energy.joules == pytest.approx(5)


def test_it_is_sampled_before_a_counter_starts_again_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "_SAMPLE_SECONDS", 0.01)
    folder = processor(0, microjoules=0, limit=10_000_000)

    with metered(None) as meter:
        for value in (6, 2, 8):  # 6, then 6 more, then 6 more
            write_text(folder / "energy_uj", str(value * 1_000_000))  # whole at any time, as the kernel's files are
            time.sleep(0.2)

    assert meter.energy is not None
    assert meter.energy.joules == pytest.approx(18)


def test_an_interrupted_stage_goes_on_from_what_it_had_counted() -> None:
    folder, state = processor(0), Path("state")
    with pytest.raises(KeyboardInterrupt), metered(state):
        (folder / "energy_uj").write_text("8000000")
        raise KeyboardInterrupt

    (folder / "energy_uj").write_text("1000000000")  # of somebody else, in between
    with metered(state) as meter:
        (folder / "energy_uj").write_text("1002000000")

    assert meter.energy is not None
    assert meter.energy.joules == pytest.approx(3 + 2)


def test_a_damaged_record_counts_from_0() -> None:
    folder = processor(0)
    Path("state").mkdir()
    Path("state/energy.json").write_text("{")

    with metered(Path("state")) as meter:
        (folder / "energy_uj").write_text("6000000")

    assert json.loads(Path("state/energy.json").read_text()) == {"package-0": pytest.approx(1)}
    assert meter.energy is not None


@pytest.mark.parametrize("name", ["psys", "core", "dram"])
def test_parts_of_a_processor_are_not_counted_twice(name: str) -> None:
    processor(0, name=name)

    assert counters_of_this_machine() == []


def test_counters_that_may_not_be_read_are_left_out() -> None:
    folder = processor(0)
    (folder / "energy_uj").unlink()
    (folder / "energy_uj").mkdir()  # reading it fails, for root as well

    assert counters_of_this_machine() == []


def test_where_nothing_counts_nothing_is_said() -> None:
    with metered(Path("state")) as meter:
        pass

    assert meter.energy is None
    assert not Path("state").exists()


def test_on_a_cluster_this_machine_is_not_asked() -> None:
    processor(0)

    with metered(None, is_here=False) as meter:
        pass

    assert meter.energy is None


def test_a_gpu_counts_beside_the_processors() -> None:
    joules = iter([10.0, 25.0])
    meter = EnergyMeter([Counter("NVIDIA H200 0", lambda: next(joules))], {})

    meter.sample()

    assert meter.energy is not None
    assert meter.energy.joules == 15
    assert meter.energy.counters == ("NVIDIA H200 0",)


def test_a_counter_that_is_lost_stops_nothing() -> None:
    folder = processor(0)

    with metered(None) as meter:
        (folder / "energy_uj").unlink()

    assert meter.energy is not None
    assert meter.energy.joules == 0
