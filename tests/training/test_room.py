"""Where the cluster has no room: what is said, who holds it, and that the wait ends."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconv.errors import ParamsError, UnavailableError
from reconv.search.search import search
from reconv.training.cluster import Session, ray_session
from reconv.training.room import in_words, limit_seconds
from reconv.training.seeds import train_seeds

pytestmark = [pytest.mark.ray, pytest.mark.slow]
LIMIT = 5


class Notes:
    """An observer that keeps what it is told of all trainings."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)

    def __getattr__(self, name: str):
        return lambda *_: None


class Greedy:
    def hold(self) -> None: ...


@pytest.fixture(scope="module")
def full_session(tiny_params) -> Iterator[Session]:
    """All of its cores are held by an actor."""
    with ray_session(tiny_params.resources) as session:
        import ray

        greedy = ray.remote(num_cpus=session.num_cpus)(Greedy).remote()
        ray.get(greedy.hold.remote())
        yield session


@pytest.mark.parametrize("workers", [(1, 1), (2, 2)])
def test_trainings_without_room_end_with_who_holds_it(full_session, workers, tiny_job, prepared, monkeypatch):
    monkeypatch.setenv("RECONV_WAIT_SECONDS", str(LIMIT))
    seen = Notes()

    with pytest.raises(UnavailableError, match="run the same command again to resume") as raised:
        train_seeds([tiny_job], prepared, Path("state"), replace(full_session, workers=workers), seen)

    (said,) = seen.texts
    for text in (said, str(raised.value)):
        assert f"0 of {full_session.num_cpus:g} CPU free" in text
        assert "Greedy (process " in text
    assert f"({LIMIT} s at most)" in said


def test_a_search_without_room_ends_too(full_session, params, prepared, monkeypatch):
    monkeypatch.setenv("RECONV_WAIT_SECONDS", str(LIMIT))
    seen = Notes()

    with pytest.raises(UnavailableError, match="held by Greedy"):
        search("cnn", params, prepared, Path("state"), full_session, seen)

    assert len(seen.texts) == 1


def test_resources_are_named_as_people_do():
    assert (
        in_words({"CPU": 2.0, "GPU": 0.5, "memory": 2e9, "node:10.0.0.1": 1.0}) == "2 CPU + 0.5 GPU + 2.0 GB of memory"
    )


@pytest.mark.parametrize("value", ["soon", "-1", "nan", "inf"])
def test_a_limit_that_is_no_number_of_seconds_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONV_WAIT_SECONDS", value)
    with pytest.raises(ParamsError, match=f"RECONV_WAIT_SECONDS is {value}, must be a positive number of seconds"):
        limit_seconds(is_local=True)
