"""A web server for the user who starts it: on the loopback address, behind a secret of its session.

The loopback address alone keeps nobody out: every user of the machine reaches it, and so does every page in a browser.
As with Jupyter, the secret is in the address that the command prints; it becomes a cookie when that is opened. Called
by `reconv demo` and `reconv ui`.
"""

import secrets
import socket
import webbrowser
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import uvicorn
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from reconv.errors import UnavailableError

LOOPBACK = "127.0.0.1"
_HOSTS = [LOOPBACK, "localhost"]  # a foreign name that points here would make a foreign page one of ours
_MAX_CONNECTIONS = 50
_HEADERS = {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
# A redirect would not do: where a file or another site led here, a browser sends no strict cookie along with it.
_WELCOME = (
    '<!doctype html><meta http-equiv="refresh" content="0;url=/"><link rel="icon" href="data:,"><title>reconv</title>'
)
_REFUSED = (
    "This page is only for the user who started it: open the whole address that the command printed, with its token.\n"
)
_FOREIGN = "A page of another address may not send requests here.\n"


@dataclass(frozen=True)
class LocalPort:
    """A listening port on the loopback address, and the secret that a request needs."""

    listening: socket.socket
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @property
    def number(self) -> int:
        return int(self.listening.getsockname()[1])

    @property
    def url(self) -> str:
        """The address without the secret."""
        return f"http://{LOOPBACK}:{self.number}/"

    @property
    def secret_url(self) -> str:
        """The address to open: anyone who has it can use the page."""
        return f"{self.url}?token={self.secret}"

    def new_server(self, app: ASGIApp) -> uvicorn.Server:
        """Return a server of `app`, to be run with `sockets=[listening]`."""
        config = uvicorn.Config(
            TrustedHostMiddleware(_OnlyWithSecret(app, self), allowed_hosts=_HOSTS, www_redirect=False),
            log_level="warning",
            ws="none",
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_graceful_shutdown=2,
        )
        return uvicorn.Server(config)

    def serve(self, app: ASGIApp, opens_browser: bool = False) -> None:
        """Serve `app` until Ctrl-C."""
        with suppress(KeyboardInterrupt), TemporaryDirectory(prefix="reconv-") as folder:
            if opens_browser:
                # Not the address itself: a browser's command line can be read by every user.
                page = Path(folder) / "open.html"
                page.write_text(_WELCOME.replace("url=/", f"url={self.secret_url}"), encoding="utf-8")
                webbrowser.open(page.as_uri())
            self.new_server(app).run(sockets=[self.listening])


def listen(port: int) -> LocalPort:
    """Listen on a port of the loopback address; 0 is any that is free.

    Raises:
        UnavailableError: the port is taken or needs more rights.
    """
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((LOOPBACK, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise UnavailableError(
            f"port {port} of {LOOPBACK} cannot be had ({error.strerror}): choose another with --port, or 0 for any."
        ) from None
    return LocalPort(listening)


class _OnlyWithSecret:
    """Middleware that passes on requests with the secret: as cookie, or as `Authorization: Bearer` (MLflow's client).

    `/?token=SECRET` sets the cookie.
    """

    def __init__(self, app: ASGIApp, port: LocalPort) -> None:
        self._app = app
        self._secret = port.secret
        self._cookie = f"reconv-{port.number}"  # browsers send a cookie to all ports of a host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._refusal_or_welcome(Request(scope)) if scope["type"] == "http" else None
        await (answer or self._app)(scope, receive, send)

    def _refusal_or_welcome(self, request: Request) -> Response | None:
        # Another port of this host is the same site to a browser, which sends the cookie along.
        if request.headers.get("origin") not in (None, f"http://{request.headers.get('host')}"):
            return PlainTextResponse(_FOREIGN, 403, headers=_HEADERS)
        if request.url.path == "/" and self._is_secret(request.query_params.get("token")):
            welcome = HTMLResponse(_WELCOME, headers=_HEADERS)
            welcome.set_cookie(self._cookie, self._secret, httponly=True, samesite="strict")
            return welcome
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._is_secret(request.cookies.get(self._cookie)) or self._is_secret(bearer):
            return None
        return PlainTextResponse(_REFUSED, 403, headers=_HEADERS)

    def _is_secret(self, given: str | None) -> bool:
        return given is not None and secrets.compare_digest(given.encode(), self._secret.encode())
