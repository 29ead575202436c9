"""The server as a browser, a careless program and a foreign page meet it: over real HTTP."""

import http.client
import io
import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from reconv.data.processes import Limited, Limits
from reconv.demo import server
from reconv.demo.server import LOOPBACK, MAX_UPLOAD_BYTES, UPLOAD_TYPE, listen
from reconv.errors import UnavailableError
from reconv.serving import requests


def ask(
    url: str, method: str = "GET", path: str = "/", body: bytes | None = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, str]:
    """Status, headers and text of the reply."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read().decode()
    finally:
        connection.close()


def send(url: str, content: bytes) -> tuple[int, dict]:
    status, _, text = ask(url, "POST", "/answers", content, Content_Type=UPLOAD_TYPE)
    return status, json.loads(text)


def test_an_image_is_answered_by_both(url: str, photo: bytes) -> None:
    status, found = send(url, photo)

    assert status == 200
    assert [one["role"] for one in found["answers"]] == ["champion", "baseline"]
    assert found["image"].startswith("data:image/png;base64,")


def test_it_says_who_answers(url: str) -> None:
    status, _, text = ask(url, path="/contenders")

    assert status == 200
    assert json.loads(text)["max_bytes"] == MAX_UPLOAD_BYTES


def test_what_is_no_image_gets_a_400_that_says_why(url: str) -> None:
    assert send(url, b"no image") == (400, {"message": "The file cannot be decoded (no format that is read)."})


def test_what_is_too_large_gets_a_413_that_says_so(url: str) -> None:
    status, found = send(url, b"x" * (MAX_UPLOAD_BYTES + 1))

    assert status == 413
    assert found["message"] == "The file has 20,971,521 bytes, must have at most 20,971,520: shrink it."


@pytest.mark.parametrize("is_chunked", [False, True])
def test_what_never_ends_is_not_read_to_its_end(url: str, is_chunked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_BYTES_READ", 30 * 2**20)
    where, part = urlsplit(url), b"x" * 2**20
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
    connection.putrequest("POST", "/answers")
    connection.putheader("Content-Type", UPLOAD_TYPE)
    connection.putheader(*(("Transfer-Encoding", "chunked") if is_chunked else ("Content-Length", str(2**40))))
    connection.endheaders()
    for _ in range(31 if is_chunked else 1):
        connection.send(b"%x\r\n%s\r\n" % (len(part), part) if is_chunked else part)

    reply = connection.getresponse()

    said = "more than 31,457,280"
    assert (reply.status, json.loads(reply.read())["message"].startswith(f"The file has {said} bytes")) == (413, True)
    connection.close()


def test_what_arrives_too_slowly_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_UPLOAD_SECONDS", 0.2)
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
    connection.putrequest("POST", "/answers")
    for name, value in {"Content-Type": UPLOAD_TYPE, "Content-Length": "100"}.items():
        connection.putheader(name, value)
    connection.endheaders(b"x")

    reply = connection.getresponse()

    assert (reply.status, "0.2 s to arrive" in reply.read().decode()) == (408, True)
    connection.close()


def test_a_slow_file_is_refused_while_others_are_answered(
    url: str, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "_decode", Limited(requests._decode_counted, Limits(0.3, 2**30)))
    buffer = io.BytesIO()
    Image.new("L", (10_000, 9_999)).save(buffer, "PNG")
    assert send(url, photo)[0] == 200
    with ThreadPoolExecutor() as other:
        slow = other.submit(send, url, buffer.getvalue())
        answered = 0
        while not slow.done():
            assert send(url, photo)[0] == 200
            answered += 1

    assert slow.result() == (400, {"message": "The file needs more than 0.3 s of processor time."})
    assert answered > 3


def test_the_largest_that_is_allowed_is_read(url: str) -> None:
    status, found = send(url, b"x" * MAX_UPLOAD_BYTES)

    assert (status, "cannot be decoded" in found["message"]) == (400, True)


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "image/png"])
def test_what_a_form_of_another_page_could_send_is_refused(url: str, photo: bytes, kind: str) -> None:
    status, _, text = ask(url, "POST", "/answers", photo, Content_Type=kind)

    assert status == 415
    assert UPLOAD_TYPE in json.loads(text)["message"]


def test_no_other_page_gets_leave_to_ask(url: str) -> None:
    asks = {"Origin": "http://example.com", "Access_Control_Request_Method": "POST"}
    status, headers, _ = ask(url, "OPTIONS", "/answers", **asks, Access_Control_Request_Headers="content-type")

    assert status == 405
    assert not [name for name in headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("host", ["example.com", "example.com:80", "127.0.0.1.example.com", "0.0.0.0", "[::1]", ""])
@pytest.mark.parametrize("path", ["/", "/contenders", "/answers"])
def test_a_foreign_host_is_refused(url: str, host: str, path: str) -> None:
    status, _, text = ask(url, path=path, Host=host)

    assert (status, text) == (400, "Invalid host header")


def test_its_own_names_are_known(url: str) -> None:
    port = urlsplit(url).port

    assert {ask(url, Host=host)[0] for host in (f"127.0.0.1:{port}", f"localhost:{port}", "localhost")} == {200}


@pytest.mark.parametrize(
    "path", ["/../answers.py", "/..%2fanswers.py", "/page.html", "//etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/docs"]
)
def test_nothing_of_the_disk_can_be_had(url: str, path: str) -> None:
    assert ask(url, path=path)[0] == 404


def test_it_listens_on_the_loopback_address_alone(url: str) -> None:
    where = urlsplit(url)
    assert where.hostname == LOOPBACK

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", where.port or 0), timeout=5)


def test_a_port_that_is_taken_is_said_with_the_remedy(url: str) -> None:
    port = urlsplit(url).port or 0

    with pytest.raises(UnavailableError, match=rf"port {port} of 127\.0\.0\.1 cannot be had .*--port"):
        listen(port)


def test_the_page_needs_nothing_from_elsewhere_and_may_load_nothing(url: str) -> None:
    status, headers, page = ask(url)

    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert re.findall(r"""(?:src|href|action)="(?!data:)|url\(|@import|https?:""", page) == []
    policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    assert policy.pop("default-src") == "'none'"
    assert policy.pop("connect-src") == "'self'"
    assert policy.pop("img-src") == "data: blob:"
    assert all(re.fullmatch(r"'sha256-[\w+/]{43}='", policy.pop(name)) for name in ("script-src", "style-src"))
    assert set(policy.values()) == {"'none'"}


def test_the_page_is_one_file(repository: Path) -> None:
    assert [path.name for path in (repository / "src/reconv/demo").iterdir() if path.suffix not in (".py", "")] == [
        "page.html"
    ]
