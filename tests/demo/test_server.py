"""The server as a browser, a careless program and a foreign page meet it: over real HTTP."""

import http.client
import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from reconv.data.processes import Limited, Limits
from reconv.demo import server
from reconv.demo.server import MAX_UPLOAD_BYTES, UPLOAD_TYPE
from reconv.local_server import LOOPBACK, LocalPort
from reconv.serving import requests


def ask(
    port: LocalPort, method: str = "GET", path: str = "/", body: bytes | None = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, str]:
    """Status, headers and text of the reply to who has the secret."""
    connection = http.client.HTTPConnection(LOOPBACK, port.number, timeout=60)
    sent = {"Authorization": f"Bearer {port.secret}"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    try:
        connection.request(method, path, body, sent)
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read().decode()
    finally:
        connection.close()


def send(port: LocalPort, content: bytes) -> tuple[int, dict]:
    status, _, text = ask(port, "POST", "/answers", content, Content_Type=UPLOAD_TYPE)
    return status, json.loads(text)


def test_who_lacks_the_secret_gets_no_answer(port: LocalPort, photo: bytes) -> None:
    status, _, text = ask(port, "POST", "/answers", photo, Content_Type=UPLOAD_TYPE, Authorization="")

    assert (status, "token" in text) == (403, True)


def test_an_image_is_answered_by_both(port: LocalPort, photo: bytes) -> None:
    status, found = send(port, photo)

    assert status == 200
    assert [one["role"] for one in found["answers"]] == ["champion", "baseline"]
    assert found["image"].startswith("data:image/png;base64,")


def test_it_says_who_answers(port: LocalPort) -> None:
    status, _, text = ask(port, path="/contenders")

    assert status == 200
    assert json.loads(text)["max_bytes"] == MAX_UPLOAD_BYTES


def test_what_is_no_image_gets_a_400_that_says_why(port: LocalPort) -> None:
    assert send(port, b"no image") == (400, {"message": "The file cannot be decoded (no format that is read)."})


def test_what_is_too_large_gets_a_413_that_says_so(port: LocalPort) -> None:
    status, found = send(port, b"x" * (MAX_UPLOAD_BYTES + 1))

    assert status == 413
    assert found["message"] == "The file has 20,971,521 bytes, must have at most 20,971,520: shrink it."


@pytest.mark.parametrize("is_chunked", [False, True])
def test_what_never_ends_is_not_read_to_its_end(
    port: LocalPort, is_chunked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_BYTES_READ", 30 * 2**20)
    part = b"x" * 2**20
    connection = http.client.HTTPConnection(LOOPBACK, port.number, timeout=60)
    connection.putrequest("POST", "/answers")
    connection.putheader("Authorization", f"Bearer {port.secret}")
    connection.putheader("Content-Type", UPLOAD_TYPE)
    connection.putheader(*(("Transfer-Encoding", "chunked") if is_chunked else ("Content-Length", str(2**40))))
    connection.endheaders()
    for _ in range(31 if is_chunked else 1):
        connection.send(b"%x\r\n%s\r\n" % (len(part), part) if is_chunked else part)

    reply = connection.getresponse()

    said = "more than 31,457,280"
    assert (reply.status, json.loads(reply.read())["message"].startswith(f"The file has {said} bytes")) == (413, True)
    connection.close()


def test_what_arrives_too_slowly_is_refused(port: LocalPort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_UPLOAD_SECONDS", 0.2)
    connection = http.client.HTTPConnection(LOOPBACK, port.number, timeout=60)
    connection.putrequest("POST", "/answers")
    for name, value in {
        "Authorization": f"Bearer {port.secret}",
        "Content-Type": UPLOAD_TYPE,
        "Content-Length": "100",
    }.items():
        connection.putheader(name, value)
    connection.endheaders(b"x")

    reply = connection.getresponse()

    assert (reply.status, "0.2 s to arrive" in reply.read().decode()) == (408, True)
    connection.close()


def test_a_slow_file_is_refused_while_others_are_answered(
    port: LocalPort, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "_decode", Limited(requests._decode_counted, Limits(0.3, 2**30)))
    buffer = io.BytesIO()
    Image.new("L", (10_000, 9_999)).save(buffer, "PNG")
    assert send(port, photo)[0] == 200
    with ThreadPoolExecutor() as other:
        slow = other.submit(send, port, buffer.getvalue())
        answered = 0
        while not slow.done():
            assert send(port, photo)[0] == 200
            answered += 1

    assert slow.result() == (400, {"message": "The file needs more than 0.3 s of processor time."})
    assert answered > 3


def test_the_largest_that_is_allowed_is_read(port: LocalPort) -> None:
    status, found = send(port, b"x" * MAX_UPLOAD_BYTES)

    assert (status, "cannot be decoded" in found["message"]) == (400, True)


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "image/png"])
def test_what_a_form_of_another_page_could_send_is_refused(port: LocalPort, photo: bytes, kind: str) -> None:
    status, _, text = ask(port, "POST", "/answers", photo, Content_Type=kind)

    assert status == 415
    assert UPLOAD_TYPE in json.loads(text)["message"]


@pytest.mark.parametrize(
    "path", ["/../answers.py", "/..%2fanswers.py", "/page.html", "//etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/docs"]
)
def test_nothing_of_the_disk_can_be_had(port: LocalPort, path: str) -> None:
    assert ask(port, path=path)[0] == 404


def test_the_page_needs_nothing_from_elsewhere_and_may_load_nothing(port: LocalPort) -> None:
    status, headers, page = ask(port)

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
