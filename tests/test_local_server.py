"""Who may use a page of ours: the user who has its secret, and nobody else on this machine or in its browser."""

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import ARGUMENTS, chromium
from playwright.sync_api import Browser, sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from reconv.errors import UnavailableError
from reconv.local_server import LOOPBACK, LocalPort, listen


async def show(_: Request) -> Response:
    return HTMLResponse("<title>the page</title>")


@pytest.fixture(scope="module")
def port() -> Iterator[LocalPort]:
    """Where a page is that takes any method."""
    methods = ["GET", "PUT", "POST", "DELETE", "OPTIONS"]
    port = listen(0)
    server = port.new_server(Starlette(routes=[Route("/{path:path}", show, methods=methods)]))
    running = threading.Thread(target=server.run, kwargs={"sockets": [port.listening]})
    running.start()
    yield port
    server.should_exit = True
    running.join(timeout=30)
    assert not running.is_alive()


def ask(
    port: LocalPort, path: str = "/", method: str = "GET", **headers: str
) -> tuple[int, http.client.HTTPMessage, str]:
    connection = http.client.HTTPConnection(LOOPBACK, port.number, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", "/health", "/?token=", "/?token=wrong", "/deep?token={secret}"])
def test_a_request_without_the_secret_is_refused(port: LocalPort, method: str, path: str) -> None:
    status, _, text = ask(port, path.format(secret=port.secret), method)

    assert (status, text) == (
        403,
        "This page is only for the user who started it: open the whole address that the command printed, with its "
        "token.\n",
    )


@pytest.mark.parametrize("token", ["", "wrong", "w\xf6rong"])
def test_a_wrong_secret_is_refused(port: LocalPort, token: str) -> None:
    cookie = f"reconv-{port.number}={token}"

    assert ask(port, Cookie=cookie)[0] == ask(port, Authorization=f"Bearer {token}")[0] == 403


def test_the_address_with_the_secret_sets_a_cookie_that_opens_every_page(port: LocalPort) -> None:
    status, headers, text = ask(port, f"/?token={port.secret}")
    cookie, *rules = headers["Set-Cookie"].split("; ")

    assert (status, port.secret in text) == (200, False)
    assert sorted(rules) == ["HttpOnly", "Path=/", "SameSite=strict"]
    assert ask(port, "/deep", Cookie=cookie)[2] == "<title>the page</title>"


def test_a_client_may_send_the_secret_as_a_bearer_token(port: LocalPort) -> None:
    assert ask(port, "/deep", "PUT", Authorization=f"Bearer {port.secret}")[0] == 200


@pytest.mark.parametrize("origin", ["http://example.com", "http://127.0.0.1:1", "http://localhost:1", "null"])
def test_a_page_of_another_address_is_refused_although_its_browser_has_the_cookie(port: LocalPort, origin: str) -> None:
    cookie = f"reconv-{port.number}={port.secret}"

    assert ask(port, "/", "POST", Cookie=cookie, Origin=origin)[0] == 403
    assert ask(port, "/", "POST", Cookie=cookie, Origin=port.url.rstrip("/"))[0] == 200


@pytest.mark.parametrize("host", ["example.com", "example.com:80", "127.0.0.1.example.com", "0.0.0.0", "[::1]", ""])
@pytest.mark.parametrize("path", ["/", "/deep", "/?token={secret}"])
def test_a_foreign_name_is_refused(port: LocalPort, host: str, path: str) -> None:
    status, _, text = ask(port, path.format(secret=port.secret), Host=host)

    assert (status, text) == (400, "Invalid host header")


def test_its_own_names_are_known(port: LocalPort) -> None:
    names = (f"127.0.0.1:{port.number}", f"localhost:{port.number}", "localhost")

    assert {ask(port, Host=name, Authorization=f"Bearer {port.secret}")[0] for name in names} == {200}


def test_it_listens_on_the_loopback_address_alone() -> None:
    with listen(0).listening as listening:
        assert listening.getsockname()[0] == LOOPBACK


def test_a_port_that_is_taken_is_said_with_the_remedy(port: LocalPort) -> None:
    with pytest.raises(UnavailableError, match=rf"port {port.number} of 127\.0\.0\.1 cannot be had .*--port"):
        listen(port.number)


def test_the_secret_is_another_one_each_time_and_not_in_what_is_printed_of_it() -> None:
    one, other = listen(0), listen(0)
    with one.listening, other.listening:
        assert one.secret != other.secret
        assert one.secret not in repr(one)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)


SERVES = """
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route
from reconv.local_server import listen
async def show(_):
    return HTMLResponse("<title>the page</title>")
listen(0).serve(Starlette(routes=[Route("/", show)]), opens_browser=True)
"""


@pytest.mark.browser
@pytest.mark.slow
def test_a_browser_is_let_in_without_the_secret_on_its_command_line(browser: Browser, tmp_path: Path) -> None:
    program, called = tmp_path / "browser", tmp_path / "called"
    program.write_text(f'#!/bin/sh\necho "$@" > {called}.new && mv {called}.new {called}\n')
    program.chmod(0o755)
    server = subprocess.Popen([sys.executable, "-c", SERVES], env={**os.environ, "BROWSER": str(program)})
    try:
        deadline = time.monotonic() + 30
        while not called.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        address = called.read_text().strip()
        page = browser.new_page()
        page.goto(address)  # leads to the page as another site would, from where no strict cookie is sent
        page.wait_for_function("document.title == 'the page'")

        assert address.startswith("file:")
        assert page.url.removeprefix("http://127.0.0.1:").removesuffix("/").isdigit()
        assert Path(address.removeprefix("file://")).parent.stat().st_mode & 0o077 == 0
    finally:
        server.send_signal(signal.SIGINT)
    assert server.wait(30) == 0
    assert not Path(address.removeprefix("file://")).parent.exists()
