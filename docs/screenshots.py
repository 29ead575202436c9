"""`make screenshots`: the pictures of the README, of the last `make repro`, taken in Debian's chromium."""

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
REPORT = ROOT / "results" / "compare" / "report.html"
_PORT = 5057
_PATIENCE_SECONDS = 90
_SIGN_LEFT_OF_NAME = 33  # pixels; the sign that opens a run has no name of its own


def main() -> None:
    executable = shutil.which("chromium")
    if executable is None:
        sys.exit("chromium is not installed: apt-get install chromium")
    if not REPORT.exists():
        sys.exit(f"{REPORT.relative_to(ROOT)} is missing: make repro")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        for scheme in ("light", "dark"):
            _picture_of_report(browser, scheme)
        with _mlflow() as address:
            _picture_of_mlflow(browser, address)


def _picture_of_report(browser: Browser, scheme: str) -> None:
    page = browser.new_page(viewport={"width": 1200, "height": 1250}, color_scheme=scheme)
    page.goto(REPORT.as_uri(), wait_until="load")
    page.wait_for_timeout(1500)  # figures are drawn after the load
    page.screenshot(path=IMAGES / f"report-{scheme}.png")


def _picture_of_mlflow(browser: Browser, address: str) -> None:
    """The first pipeline's run, opened, with its stages."""
    page = browser.new_page(viewport={"width": 1500, "height": 900})
    page.goto(f"{address}/#/experiments/1/runs")
    name = page.locator(".ag-row a", has_text="repro").last
    name.wait_for(timeout=60_000)
    page.get_by_role("button", name="Close").click()  # the assistant, which takes a quarter of the page
    page.wait_for_timeout(1000)
    box = name.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] - _SIGN_LEFT_OF_NAME, box["y"] + box["height"] / 2)
    page.wait_for_timeout(3000)
    page.screenshot(path=IMAGES / "mlflow.png")


@contextmanager
def _mlflow() -> Iterator[str]:
    """The address of a server on the run's store."""
    address = f"http://127.0.0.1:{_PORT}"
    command = ["mlflow", "ui", "--backend-store-uri", "sqlite:///mlflow.db", "--port", str(_PORT)]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until = time.monotonic() + _PATIENCE_SECONDS
        while not _answers(address):
            if time.monotonic() > until:
                sys.exit(f"MLflow does not answer at {address}")
            time.sleep(0.5)
        yield address
    finally:
        os.killpg(server.pid, 15)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    main()
