"""Ours: a folder of images fetched and prepared as the stages do it."""

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from benchmarks.measure import ROOT, PeakMemory, own_bytes
from benchmarks.photographs import generate
from reconv.data.packing import prepare
from reconv.data.sources import fetch
from reconv.params import load_params

SIDE = 64
MORE = " with 1 % more images"


def fetch_and_prepare(images: Path, work: Path) -> dict[str, float]:
    """Write WORK/raw and WORK/prepared; the seconds of `fetch` and of `prepare`."""
    source = f"folder:{images}"
    params = load_params(ROOT / "params.yaml").data.model_copy(update={"source": source, "image_size": SIDE})
    clocks = [time.perf_counter()]
    fetch(source, None, work / "raw", lambda _: None)
    clocks.append(time.perf_counter())
    prepare(params, work / "raw", work / "prepared", work / "decoded", lambda *_: None)
    clocks.append(time.perf_counter())
    return {"fetch": clocks[1] - clocks[0], "prepare": clocks[2] - clocks[1]}


def main() -> None:
    """Fetch and prepare a folder of images, then once more with 1 % added; print how long each took.

    Or, with --memory, how much memory the first took: to look 20 times a second takes time from two cores.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--memory", action="store_true")
    given = parser.parse_args()
    folder = given.folder
    with tempfile.TemporaryDirectory(prefix="reconv-own-", dir=folder.parent) as temporary:
        work, images = Path(temporary), Path(temporary) / "images"
        shutil.copytree(folder, images, copy_function=os.link)
        if given.memory:
            with PeakMemory(every_seconds=0.05, bytes_of=own_bytes) as memory:
                fetch_and_prepare(images, work)
            print(json.dumps({"step": "memory", "megabytes": memory.peak_bytes / 1e6}), flush=True)
            return
        _report(fetch_and_prepare(images, work))
        count = sum(1 for _ in folder.glob("*/*.jpg"))
        for index in range(count, count + count // 100):
            generate(images, index)
        _report(fetch_and_prepare(images, work), MORE)


def _report(seconds: dict[str, float], suffix: str = "") -> None:
    for step, value in seconds.items():
        print(json.dumps({"step": step + suffix, "seconds": value}), flush=True)
