import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from reconv.cluster_decoding import decoder
from reconv.data.decoded import DecodedImages
from reconv.data.decoders import decode_locally
from reconv.data.decoding import Conversion, Extremes
from reconv.data.storage import FolderStorage
from reconv.errors import DataError
from reconv.params import Params

ROOT = Path("images")
TO = Conversion(16, 3, "crop")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of one of two nodes, each with a core."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    yield nodes.address
    nodes.shutdown()


def drawn(count: int) -> list[str]:
    ROOT.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(ROOT / f"{number:03d}.png")
    (ROOT / "bad.png").write_bytes(b"<html>")
    register_heif_opener()
    for kind in ("avif", "heic"):  # which a worker decodes in a process within limits
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(ROOT / f"photo.{kind}")
    return [path.name for path in sorted(ROOT.iterdir())]


def sums_of(names: list[str]) -> np.ndarray:
    return np.array([hashlib.sha256((ROOT / name).read_bytes()).digest() for name in names], "S32")


def test_without_a_cluster_this_machine_decodes(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    assert decoder(params.resources) is decode_locally
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert decoder(params.resources) is decode_locally


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_decodes_to_the_same_bytes(params: Params, cluster: str) -> None:
    names = drawn(100)
    storage, paths, sums = FolderStorage(ROOT), pd.Series(names), sums_of(names)
    here, there = DecodedImages(Path("here"), TO), DecodedImages(Path("there"), TO)
    said: list[tuple[int, int]] = []

    here.add(storage, paths, sums, decode_locally, lambda *_: None)
    there.add(storage, paths, sums, decoder(params.resources), lambda *at: said.append(at))

    good = sums[np.array(names) != "bad.png"]
    np.testing.assert_array_equal(here.pixels[here.rows(good)], there.pixels[there.rows(good)])
    np.testing.assert_array_equal(here.fingerprints(here.rows(good)), there.fingerprints(there.rows(good)))
    assert here.problems == there.problems != {}
    assert said[-1] == (103, 103)


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_measures_the_same_range(params: Params, cluster: str) -> None:
    ROOT.mkdir()
    for number in range(9):
        Image.fromarray(np.full((9, 9), 1000 + number, np.uint16)).save(ROOT / f"{number}.png")
    names = [path.name for path in sorted(ROOT.iterdir())]
    measured = DecodedImages(Path("there"), Extremes())

    measured.add(FolderStorage(ROOT), pd.Series(names), sums_of(names), decoder(params.resources), lambda *_: None)

    values = measured.pixels[measured.rows(sums_of(names))].reshape(9, 8).view("<i4")
    assert values.tolist() == [[1000 + number] * 2 for number in range(9)]


@pytest.mark.ray
@pytest.mark.slow
def test_a_file_that_changed_is_refused_by_a_cluster_too(params: Params, cluster: str) -> None:
    names = drawn(5)
    sums = sums_of(names)
    (ROOT / names[2]).write_bytes((ROOT / names[3]).read_bytes())

    with pytest.raises(DataError, match=rf"{names[2]} changed since it was listed"):
        DecodedImages(Path("there"), TO).add(
            FolderStorage(ROOT.resolve()), pd.Series(names), sums, decoder(params.resources), lambda *_: None
        )
