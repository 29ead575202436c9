"""`make screenshots`: the pictures of the README, of the last `make repro`, taken in Debian's chromium."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
REPORT = ROOT / "results" / "compare" / "report.html"
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
    page.goto(address)
    page.wait_for_url(lambda url: "token" not in url)
    page.goto(f"{page.url.partition('#')[0]}#/experiments/1/runs")
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
    """Run `reconv ui` and yield its address, with the token."""
    server = subprocess.Popen(["reconv", "ui", "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().split()[0]
    finally:
        server.terminate()


if __name__ == "__main__":
    main()
