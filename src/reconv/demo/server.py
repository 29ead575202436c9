"""The page, and answers to images dropped on it. Called by `reconv demo`; local_server restricts who may open it."""

import asyncio
import base64
import hashlib
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from reconv.demo.answers import answers_to, described
from reconv.demo.contenders import Contenders
from reconv.serving.requests import RequestError

MAX_UPLOAD_BYTES = 20 * 2**20
MAX_BYTES_READ = 10 * MAX_UPLOAD_BYTES
MAX_UPLOAD_SECONDS = 60
UPLOAD_TYPE = "application/octet-stream"
"""No other page may send it here: for this type a browser asks the server first, and gets no leave."""
_PAGE = Path(__file__).with_name("page.html")
_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


def page_app(contenders: Contenders) -> Starlette:
    """Return the app behind the page."""
    page = _PAGE.read_text(encoding="utf-8")
    policy = _policy(page)

    async def show(_: Request) -> Response:
        return HTMLResponse(page, headers={**_HEADERS, "Content-Security-Policy": policy})

    async def introduce(_: Request) -> Response:
        return _json({**described(contenders), "max_bytes": MAX_UPLOAD_BYTES, "upload_type": UPLOAD_TYPE})

    async def answer(request: Request) -> Response:
        if request.headers.get("content-type") != UPLOAD_TYPE:
            return _refusal(415, f"An image is sent as its file's bytes, of content type {UPLOAD_TYPE}.")
        try:
            async with asyncio.timeout(MAX_UPLOAD_SECONDS):
                content, size = await _body(request)
        except TimeoutError:
            return _refusal(408, f"The file took more than {MAX_UPLOAD_SECONDS} s to arrive: shrink it.")
        if size > MAX_UPLOAD_BYTES:
            has = f"{size:,}" if size <= MAX_BYTES_READ else f"more than {MAX_BYTES_READ:,}"
            return _refusal(413, f"The file has {has} bytes, must have at most {MAX_UPLOAD_BYTES:,}: shrink it.")
        try:
            return _json(await run_in_threadpool(answers_to, content, contenders))
        except RequestError as error:
            return _refusal(400, str(error))

    routes = [
        Route("/", show),
        Route("/contenders", introduce),
        Route("/answers", answer, methods=["POST"]),
    ]
    return Starlette(routes=routes)


async def _body(request: Request) -> tuple[bytes, int]:
    """Return what was sent, up to the allowed size, and its whole size. What is too large is still read, up to
    MAX_BYTES_READ, since a browser that is cut off while sending does not show the reason."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > MAX_BYTES_READ:
        return b"", MAX_BYTES_READ + 1
    kept, size = bytearray(), 0
    async for part in request.stream():
        size += len(part)
        if size <= MAX_UPLOAD_BYTES:
            kept += part
        elif size > MAX_BYTES_READ:
            break
    return bytes(kept), size


def _json(content: object, status: int = 200) -> JSONResponse:
    return JSONResponse(content, status, headers=_HEADERS)


def _refusal(status: int, message: str) -> JSONResponse:
    return _json({"message": message}, status)


def _policy(page: str) -> str:
    """Content-Security-Policy: only the style and the script that are in the page, only pictures of its own making,
    no connection but to this server."""
    rules = {
        "default-src": "'none'",
        "style-src": _hash_of("style", page),
        "script-src": _hash_of("script", page),
        "img-src": "data: blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hash_of(tag: str, page: str) -> str:
    content = page.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
