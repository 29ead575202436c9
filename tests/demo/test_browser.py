"""The page in a real browser: an image chosen, dropped and pasted, both answers, errors, both schemes, a phone."""

import base64
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import ARGUMENTS, chromium
from playwright.sync_api import Browser, FilePayload, Page, sync_playwright
from report.test_browser import contrast

from reconv.demo.answers import MAX_CLASSES, answers_to, described
from reconv.demo.contenders import Contenders
from reconv.demo.server import MAX_UPLOAD_BYTES, UPLOAD_TYPE
from reconv.local_server import LocalPort

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DESKTOP, PHONE = (1280, 900), (390, 844)
LIMITS = {"max_bytes": MAX_UPLOAD_BYTES, "upload_type": UPLOAD_TYPE}
# What a hand with a file does, on the element or the document.
HAND_OVER = """([event, name, content]) => {
  const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
  const carried = new DataTransfer();
  if (name) carried.items.add(new File([bytes], name));
  const made = event === "paste"
    ? new ClipboardEvent("paste", { clipboardData: carried, bubbles: true })
    : new DragEvent(event, { dataTransfer: carried, bubbles: true, cancelable: true });
  document.querySelector(".zone").dispatchEvent(made);
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)


def opened(
    browser: Browser, port: LocalPort, scheme: str = "light", size: tuple[int, int] = DESKTOP
) -> tuple[Page, list[str]]:
    """The page, and what it complained of or asked for elsewhere."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on(
        "request", lambda one: None if one.url.startswith((port.url, "data:", "blob:")) else trouble.append(one.url)
    )
    page.goto(port.secret_url)
    page.wait_for_selector("#knows:not(:empty)")
    return page, trouble


def payload(content: bytes, name: str = "photo.png") -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def answered(page: Page, photo: bytes) -> Page:
    page.set_input_files("#file", payload(photo))
    page.wait_for_selector(".card .heat")
    page.wait_for_function("[...document.images].every((one) => one.complete)")
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_a_chosen_image_is_answered_by_both_without_trouble(
    browser: Browser, port: LocalPort, photo: bytes, contenders: Contenders, scheme: str, size: tuple[int, int]
) -> None:
    page, trouble = opened(browser, port, scheme, size)

    answered(page, photo)

    expected = answers_to(photo, contenders)["answers"]
    assert page.locator(".card .said").all_inner_texts() == [one["class"] for one in expected]
    assert page.locator(".card .sure").all_inner_texts() == [f"{one['confidence']:.1%} sure" for one in expected]
    assert page.locator(".card h3").all_inner_texts() == ["Convolutional network", "Feed-forward network"]
    assert page.locator(".bars li").count() == 2 * MAX_CLASSES
    assert "2 more classes" in page.locator(".source").first.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert trouble == []


def test_the_answers_stand_side_by_side_where_there_is_room(browser: Browser, port: LocalPort, photo: bytes) -> None:
    for size, are_beside in ((DESKTOP, True), (PHONE, False)):
        page = answered(opened(browser, port, size=size)[0], photo)

        one, other = (page.locator(".card").nth(index).bounding_box() for index in range(2))
        assert one is not None
        assert other is not None
        assert (other["x"] >= one["x"] + one["width"]) == are_beside
        assert (other["y"] >= one["y"] + one["height"]) != are_beside


def test_without_an_opponent_the_page_says_why(
    browser: Browser, port: LocalPort, photo: bytes, contenders: Contenders
) -> None:
    alone = dataclasses.replace(contenders, opponent=None, why_alone="The artifacts of its run are gone.")
    page = browser.new_page()
    page.route("**/contenders", lambda route: route.fulfill(json={**described(alone), **LIMITS}))
    page.route("**/answers", lambda route: route.fulfill(json=answers_to(photo, alone)))
    page.goto(port.secret_url)

    answered(page, photo)

    assert page.locator(".card").count() == 1
    assert page.locator("#verdict").inner_text().startswith("It says part ")
    assert page.locator(".alone").inner_text() == "The artifacts of its run are gone."


def test_bars_are_as_long_as_their_probabilities(browser: Browser, port: LocalPort, photo: bytes) -> None:
    page = answered(opened(browser, port)[0], photo)
    page.wait_for_timeout(700)  # they grow

    found = page.eval_on_selector_all(
        ".bars li",
        "all => all.map(one => [one.querySelector('.bar').offsetWidth / one.querySelector('.rail').offsetWidth,"
        " parseFloat(one.querySelector('.share').textContent) / 100])",
    )
    assert all(abs(length - share) < 0.02 for length, share in found)


def test_grad_cam_lies_over_the_image_as_strong_as_the_slider_says(
    browser: Browser, port: LocalPort, photo: bytes
) -> None:
    page = answered(opened(browser, port)[0], photo)
    heat, seen = page.locator(".card .heat"), page.locator(".card .seen")
    assert (heat.count(), seen.count()) == (1, 2)
    assert heat.bounding_box() == seen.first.bounding_box()
    assert seen.first.evaluate("one => getComputedStyle(one).imageRendering") == "pixelated"
    assert "keeps no map" in page.locator(".card").nth(1).inner_text()
    with_heat = page.locator(".picture").first.screenshot()

    page.locator("#strength").focus()
    page.keyboard.press("Home")

    assert heat.evaluate("one => getComputedStyle(one).opacity") == "0"
    assert page.locator(".picture").first.screenshot() != with_heat


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_an_image_may_be_dropped_or_pasted(browser: Browser, port: LocalPort, photo: bytes, event: str) -> None:
    page, trouble = opened(browser, port)

    page.evaluate(HAND_OVER, ["dragover", "photo.png", ""])
    assert "over" in (page.locator("body").get_attribute("class") or "")
    page.evaluate(HAND_OVER, [event, "photo.png", base64.b64encode(photo).decode()])

    page.wait_for_selector(".card .heat")
    assert page.locator("#invitation").inner_text() == "photo.png"
    assert page.locator("#thumbnail").is_visible()
    assert trouble == []


@pytest.mark.parametrize(("event", "said"), [("drop", "That was no file"), ("paste", "no image in the clipboard")])
def test_what_is_no_file_is_said(browser: Browser, port: LocalPort, event: str, said: str) -> None:
    page, _ = opened(browser, port)

    page.evaluate(HAND_OVER, [event, "", ""])

    assert said in page.locator("#error").inner_text()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no image", "notes.txt The file cannot be decoded"),
        (b"", "notes.txt The file is empty."),
        (b"x" * (MAX_UPLOAD_BYTES + 1), "must have at most 20,971,520"),
    ],
    ids=["text", "empty", "large"],
)
def test_what_is_no_image_is_said_in_the_place_of_answers(
    browser: Browser, port: LocalPort, photo: bytes, content: bytes, said: str, tmp_path: Path
) -> None:
    page, _ = opened(browser, port)
    answered(page, photo)
    (tmp_path / "notes.txt").write_bytes(content)

    page.set_input_files("#file", tmp_path / "notes.txt")

    page.wait_for_selector("#error:not([hidden])")
    assert said in page.locator("#error").inner_text()
    assert page.locator("#result").is_hidden()
    answered(page, photo)
    assert page.locator("#error").is_hidden()


def test_a_server_that_is_gone_is_said(browser: Browser, port: LocalPort, photo: bytes) -> None:
    page, _ = opened(browser, port)
    page.route("**/answers", lambda route: route.abort())

    page.set_input_files("#file", payload(photo))

    page.wait_for_selector("#error:not([hidden])")
    assert "start reconv demo again" in page.locator("#error").inner_text()


def test_the_last_image_wins(browser: Browser, port: LocalPort, photo: bytes) -> None:
    page, _ = opened(browser, port)

    for name in ("first.png", "second.png", "third.png"):
        page.evaluate(HAND_OVER, ["drop", name, base64.b64encode(photo).decode()])

    page.wait_for_selector(".card .heat")
    page.wait_for_selector("body:not(.busy)")
    assert page.locator("#invitation").inner_text() == "third.png"
    assert page.locator("#error").is_hidden()


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_it_can_be_used_with_the_keyboard_alone(browser: Browser, port: LocalPort, photo: bytes, key: str) -> None:
    page, _ = opened(browser, port)

    with page.expect_file_chooser() as chooser:
        # Chromium reports no chooser that opens in the first milliseconds after it was asked to.
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "file"
        page.wait_for_timeout(500)
        page.keyboard.press(key)
    chooser.value.set_files(payload(photo))
    page.wait_for_selector(".card .heat")
    page.keyboard.press("Tab")

    assert page.evaluate("document.activeElement.id") == "strength"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_schemes(browser: Browser, port: LocalPort, photo: bytes, scheme: str) -> None:
    page = answered(opened(browser, port, scheme)[0], photo)

    card = page.locator(".card").first.evaluate("one => getComputedStyle(one).backgroundColor")
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for selector, behind in ((".card p", card), (".card h3", card), (".bars span", card), ("#verdict", back)):
        texts = page.eval_on_selector_all(selector, "all => all.map(one => getComputedStyle(one).color)")
        assert texts
        assert min(contrast(text, behind) for text in texts) > 4.5  # WCAG 2.2, level AA
