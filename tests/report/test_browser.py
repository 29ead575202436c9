"""The report in a real browser: no error, no request, every figure drawn, in both colour schemes and on a phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import ARGUMENTS, chromium
from playwright.sync_api import Browser, Page, sync_playwright
from report.conftest import CLASS_NAMES

from reconv.params import ReportParams
from reconv.report.page import Contents, render

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DESKTOP, PHONE = (1280, 900), (390, 844)
NUM_FIGURES, NUM_GALLERIES = 11, 7


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)


@pytest.fixture
def html(contents: Contents, report_params: ReportParams, tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    path.write_text(render(contents, report_params), encoding="utf-8")
    return path


def opened(browser: Browser, html: Path, scheme: str = "light", size: tuple[int, int] = DESKTOP) -> tuple[Page, list]:
    """The page, and what it complained of or asked for elsewhere."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: trouble.append(request.url) if is_elsewhere(request.url) else None)
    page.goto(html.as_uri(), wait_until="load")
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot .main-svg').length > 0")
    return page, trouble


def is_elsewhere(url: str) -> bool:
    return not url.startswith(("file:", "data:", "blob:"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_from_the_disk_without_an_error_or_a_request(browser: Browser, html: Path, scheme: str) -> None:
    _, trouble = opened(browser, html, scheme)

    assert trouble == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_every_figure_is_drawn(browser: Browser, html: Path, size: tuple[int, int]) -> None:
    page, _ = opened(browser, html, size=size)

    figures = page.locator("figure:not(.gallery)")
    assert figures.count() == NUM_FIGURES
    for index in range(NUM_FIGURES):
        drawing = figures.nth(index).locator(".main-svg").first
        box = drawing.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) > 100
        assert figures.nth(index).locator(".trace, .points, .hm, .errorbars, .imagelayer image").count() > 0
        assert figures.nth(index).get_attribute("aria-label")


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_every_picture_is_shown_with_its_title(browser: Browser, html: Path, size: tuple[int, int]) -> None:
    page, _ = opened(browser, html, size=size)

    galleries = page.locator("figure.gallery")
    assert galleries.count() == NUM_GALLERIES
    for index in range(NUM_GALLERIES):
        assert galleries.nth(index).get_attribute("aria-label")
    shown = page.eval_on_selector_all(
        ".gallery img", "all => all.map(one => [one.complete && one.naturalWidth, one.clientWidth, one.alt])"
    )
    assert len(shown) == 3 + 12 + 2 + 6 + 5 + 2 + 2
    assert all(natural > 0 and width > 30 and title for natural, width, title in shown)


def test_a_phone_shows_it_without_scrolling_sideways(browser: Browser, html: Path) -> None:
    page, _ = opened(browser, html, size=PHONE)

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]


def test_text_in_figures_can_be_read_in_both_schemes(browser: Browser, html: Path) -> None:
    for scheme in ("light", "dark"):
        page, _ = opened(browser, html, scheme)
        page.wait_for_timeout(300)

        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        texts = page.eval_on_selector_all(
            ".xtick text, .ytick text, .xtitle, .legendtext, .annotation-text",
            "all => all.map(one => getComputedStyle(one).fill)",
        )
        assert texts
        assert min(contrast(text, back) for text in texts) > 4.5  # WCAG 2.2, level AA


def contrast(one: str, other: str) -> float:
    """Of two CSS colours, by WCAG's relative luminance."""
    low, high = sorted(luminance(colour) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : colour.index(")")].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_values_are_shown_on_hover(browser: Browser, html: Path) -> None:
    page, _ = opened(browser, html)

    page.locator("#figure-difference .point").first.hover(force=True)

    page.wait_for_selector("#figure-difference .hovertext")
    assert "+5.60 points" in (page.locator("#figure-difference .hovertext").text_content() or "")


def test_names_of_classes_are_text_in_figures(browser: Browser, html: Path) -> None:
    page, _ = opened(browser, html)

    for figure in ("#figure-classes .ytick text", "#figure-confusion .xtick text"):
        assert set(page.locator(figure).all_text_contents()) == set(CLASS_NAMES)
    page.locator("#figure-classes .point").first.hover(force=True)
    page.wait_for_selector("#figure-classes .hovertext")
    assert page.locator("#figure-classes .hovertext").text_content().startswith(f"{CLASS_NAMES[2]}: -1.0 points")
