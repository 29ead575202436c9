"""The report of the last `make repro`: how long it takes to make, and to open in a browser.

- Made: what the stage `compare` does for it, reading the tables and the imports included, in a process of its own.
- Opened: in Debian's chromium, from the disk, a new browser each time, from the address being asked for to every figure
  drawn and the page's load event over.
"""

import shutil
import subprocess
import sys
import time

from playwright.sync_api import sync_playwright

from benchmarks.measure import OURS, ROOT, Effort, Row

TITLE = "The report: made, and opened in a browser"

_REPORT = ROOT / "results" / "compare" / "report.html"
_MAKE = """
import sys
from reconv.artifacts import Verdict
from reconv.params import load_params
from reconv.places import COMPARE
from reconv.report.page import collect, render
render(collect(Verdict.load(COMPARE / "verdict.json"), ("cnn", "feedforward"), "0" * 40), load_params().report)
sys.exit("torch" in sys.modules)
"""
_ALL_DRAWN = """() => document.readyState == "complete"
    && [...document.querySelectorAll("figure .js-plotly-plot")].every(one => one.querySelector(".main-svg"))"""


def measure(effort: Effort) -> list[Row]:
    repeats = 7 if effort == "full" else 2
    if not _REPORT.exists():
        sys.exit(f"{_REPORT.relative_to(ROOT)} is missing: make repro")
    megabytes = _REPORT.stat().st_size / 1e6
    rows = [
        Row("report made", "s", OURS, [_seconds_to_make() for _ in range(repeats)], bar="<= 5 s", note="without torch"),
        Row("report's size", "MB", OURS, [megabytes], bar="<= 10 MB"),
    ]
    executable = shutil.which("chromium")
    if executable:
        opened = [_seconds_to_open(executable) for _ in range(repeats)]
        rows.append(Row("report opened, every figure drawn", "s", OURS, opened, bar="<= 2 s", note="chromium"))
    return rows


def _seconds_to_make() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", _MAKE], cwd=ROOT, check=True)
    return time.perf_counter() - began


def _seconds_to_open(executable: str) -> float:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        began = time.perf_counter()
        page.goto(_REPORT.as_uri(), wait_until="load")
        page.wait_for_function(_ALL_DRAWN)
        seconds = time.perf_counter() - began
        browser.close()
    print(f"  opened in {seconds:.2f} s", file=sys.stderr, flush=True)
    return seconds
