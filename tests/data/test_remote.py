"""Images behind URLs, on real servers of this machine: http.server and moto's S3."""

import http.server
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from preparing import DECODED, PREPARED, RAW, fetch_and_prepare

from reconv.data import decoders, remote, storage
from reconv.data.packing import prepare
from reconv.data.remote import RemoteStorage
from reconv.data.sources import fetch, source_of
from reconv.errors import DataError, ImageError, ParamsError
from reconv.params import DataParams
from reconv.places import DOWNLOADS


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the current folder; what its server's `answers` names is answered by that instead."""

    server: "Server"

    def do_GET(self) -> None:
        self.answer(super().do_GET)

    def do_HEAD(self) -> None:
        self.answer(super().do_HEAD)

    def answer(self, usual: Callable[[], None]) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        for path, special in self.server.answers.items():
            if self.path.startswith(path):
                special(self)
                return
        usual()

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str] = []
        self.answers: dict[str, Callable[[Handler], None]] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """A client may leave."""


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield running
        running.shutdown()


def upload(bucket: Any, root: Path) -> None:
    for path in root.rglob("*"):
        if path.is_file():
            bucket.upload_file(str(path), path.as_posix())


def of(data: DataParams, source: str) -> DataParams:
    return data.model_copy(update={"source": source})


def arrays() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in PREPARED.glob("*.npy")}


def write_table(images: Path) -> None:
    paths = sorted(images.glob("*/*.png"))
    rows = {"path": [path.relative_to(images).as_posix() for path in paths], "label": [p.parent.name for p in paths]}
    pd.DataFrame(rows).to_csv(images / "list.csv", index=False)


def copies() -> list[Path]:
    return sorted(path for path in DOWNLOADS.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", ["archive", "table"])
def test_images_behind_https_are_those_of_the_folder(images: Path, data: DataParams, server: Server, kind: str) -> None:
    fetch_and_prepare(data)
    expected = arrays()
    shutil.make_archive("packed", "gztar", ".", images)
    write_table(images)

    path = "packed.tar.gz" if kind == "archive" else "images/list.csv?download=1"
    manifest, _ = fetch_and_prepare(of(data, f"{kind}:{server.url}/{path}"))

    assert arrays() == expected
    assert manifest.class_names == ("left", "middle", "right")


@pytest.mark.parametrize("source", ["archive:s3://parts/packed.zip", "table:s3://parts/images/list.csv", "folder"])
def test_images_in_s3_are_those_of_the_folder(images: Path, data: DataParams, bucket: Any, source: str) -> None:
    fetch_and_prepare(data)
    expected = arrays()
    if source != "folder":
        write_table(images)
    upload(bucket, images)
    bucket.upload_file(shutil.make_archive("packed", "zip", ".", images), "packed.zip")

    fetch_and_prepare(of(data, "folder:s3://parts/images" if source == "folder" else source))

    assert arrays() == expected


def test_what_is_fetched_needs_no_network_any_more(images: Path, data: DataParams, server: Server) -> None:
    write_table(images)
    remote_data = of(data, f"table:{server.url}/images/list.csv")
    fetch(remote_data.source, None, RAW, lambda _: None)
    server.requests.clear()

    prepare(remote_data, RAW, PREPARED, DECODED, lambda *_: None)

    assert server.requests == []


def test_what_was_downloaded_is_kept_and_what_changed_is_downloaded_again(
    images: Path, data: DataParams, server: Server
) -> None:
    write_table(images)
    source = f"table:{server.url}/images/list.csv"
    first = fetch(source, None, RAW, lambda _: None)
    assert len([one for one in server.requests if one.startswith("GET")]) == 61
    before = copies()
    server.requests.clear()
    Image.new("L", (9, 9), 77).save(images / "left" / "003.png")

    second = fetch(source, None, RAW, lambda _: None)

    assert [one for one in server.requests if one.startswith("GET")] == ["GET /images/left/003.png"]
    assert first.digest != second.digest
    assert len(copies()) == len(before) == 61
    assert len(set(copies()) - set(before)) == 1


def test_an_archive_is_downloaded_once_until_it_changes(images: Path, data: DataParams, server: Server) -> None:
    def pack() -> None:
        shutil.make_archive("packed", "zip", ".", images)

    pack()
    source = f"archive:{server.url}/packed.zip"
    first = fetch(source, None, RAW, lambda _: None)
    again = fetch(source, None, RAW, lambda _: None)
    assert (first, server.requests.count("GET /packed.zip")) == (again, 1)

    Image.new("L", (9, 9), 77).save(images / "left" / "new.png")
    pack()

    assert fetch(source, None, RAW, lambda _: None).digest != first.digest
    assert server.requests.count("GET /packed.zip") == 2
    assert len(copies()) == 1


def test_copies_that_were_deleted_are_downloaded_by_decoding_processes_too(
    images: Path, data: DataParams, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(bucket, images)
    monkeypatch.setattr(decoders, "_FEW_IMAGES", 1)
    remote_data = of(data, "folder:s3://parts/images")
    fetch(remote_data.source, None, RAW, lambda _: None)
    before = copies()
    shutil.rmtree(DOWNLOADS)

    manifest, _ = prepare(remote_data, RAW, PREPARED, DECODED, lambda *_: None)

    assert sum(manifest.counts.values()) == 60
    assert copies() == before


def test_a_server_that_dies_stops_it_and_the_same_command_goes_on(
    images: Path, data: DataParams, server: Server
) -> None:
    write_table(images)

    def die_after_some(handler: Handler) -> None:
        if sum(one.startswith("GET") for one in server.requests) > 20:
            handler.connection.shutdown(socket.SHUT_RDWR)
        else:
            http.server.SimpleHTTPRequestHandler.do_GET(handler)

    server.answers["/images/"] = die_after_some
    source = f"table:{server.url}/images/list.csv"
    with pytest.raises(DataError, match=r"127\.0\.0\.1.*cannot be reached \(.+\): .* run the same command to go on"):
        fetch(source, None, RAW, lambda _: None)
    num_kept = len(copies())
    assert not (RAW / "source.json").exists()
    server.answers.clear()
    server.requests.clear()

    fetch(source, None, RAW, lambda _: None)

    assert 0 < num_kept < 61
    assert sum(one.startswith("GET") for one in server.requests) == 61 - num_kept


def test_a_file_that_breaks_off_is_no_copy(server: Server) -> None:
    def break_off(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(b"x" * 500)
            handler.close_connection = True

    server.answers["/1.png"] = break_off

    with pytest.raises(DataError, match="cannot be reached"):
        RemoteStorage(server.url, DOWNLOADS).read("1.png")
    assert copies() == []


def answering(status: int) -> Callable[[Handler], None]:
    return lambda handler: handler.send_error(status)


@pytest.mark.parametrize("status", [404, 410])
def test_an_image_that_is_not_there_is_named_and_left_out(
    images: Path, data: DataParams, server: Server, status: int
) -> None:
    write_table(images)
    server.answers["/images/left/000.png"] = answering(status)

    manifest, report = fetch_and_prepare(of(data, f"table:{server.url}/images/list.csv"))

    assert sum(manifest.counts.values()) == 59
    assert report.findings[0].files == ("left/000.png cannot be read (it is not there)",)


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_a_server_that_refuses_an_image_stops_it(images: Path, data: DataParams, server: Server, status: int) -> None:
    write_table(images)
    server.answers["/images/left/000.png"] = answering(status)

    with pytest.raises(DataError, match=rf"/images/left/000\.png cannot be reached \({status} "):
        fetch(f"table:{server.url}/images/list.csv", None, RAW, lambda _: None)


@pytest.mark.parametrize("kind", ["archive", "table"])
def test_a_source_that_is_not_there_is_named(server: Server, kind: str) -> None:
    with pytest.raises(DataError, match=rf"data\.source names {server.url}/x, which cannot be read \(it is not there"):
        fetch(f"{kind}:{server.url}/x", None, RAW, lambda _: None)


def test_a_bucket_that_is_not_there_is_named(bucket: Any) -> None:
    with pytest.raises(DataError, match=r"s3://gone/images cannot be read \(it is not there\): correct data\.source"):
        fetch("folder:s3://gone/images", None, RAW, lambda _: None)


def test_no_server_is_no_bad_image() -> None:
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:9/parts\.zip cannot be reached \(Cannot connect"):
        fetch("archive:http://127.0.0.1:9/parts.zip", None, RAW, lambda _: None)


@pytest.mark.parametrize("tells_size", [True, False])
def test_no_more_than_the_limit_is_downloaded(
    server: Server, monkeypatch: pytest.MonkeyPatch, tells_size: bool
) -> None:
    sent = []

    def send_for_ever(handler: Handler) -> None:
        handler.send_response(200)
        if tells_size:
            handler.send_header("Content-Length", str(10**12))
        handler.end_headers()
        while handler.command == "GET" and len(sent) < 1000:
            sent.append(handler.wfile.write(bytes(2**16)))
        handler.close_connection = True

    server.answers["/1.png"] = send_for_ever
    monkeypatch.setattr(storage, "MAX_FILE_BYTES", 2**20)
    monkeypatch.setattr(remote, "_CHUNK_BYTES", 2**18)

    with pytest.raises(ImageError, match=r"must have 1 to 1,048,576"):
        RemoteStorage(server.url, DOWNLOADS).read("1.png")
    assert len(sent) < 1000
    assert copies() == []


@pytest.mark.parametrize("name", ["a b.png", "50%.png", "%41.png", "what?.png", "#1.png", "ü🙂.png", "a&b=c.png"])
def test_any_name_is_only_a_name(server: Server, bucket: Any, name: str) -> None:
    Path(name).write_bytes(b"content")
    bucket.upload_file(name, f"images/{name}")

    assert RemoteStorage(server.url, DOWNLOADS).read(name) == b"content"
    with RemoteStorage("s3://parts/images", DOWNLOADS, is_fresh=True) as in_s3:
        assert (in_s3.names(), in_s3.read(name)) == ([name], b"content")
    assert {path.parent.parent for path in copies()} == {DOWNLOADS}


@pytest.mark.parametrize(
    "key", ["images/../evil.png", "images/a/../../evil.png", "images/a\\b.png", "images//etc/x.png"]
)
def test_a_name_that_leads_out_is_refused(bucket: Any, key: str) -> None:
    bucket.put_object(Key=key, Body=b"x")

    with pytest.raises(DataError, match="leads out of it"):
        RemoteStorage("s3://parts/images", DOWNLOADS, is_fresh=True).names()


def test_markers_of_folders_are_left_out(bucket: Any) -> None:
    for key in ("images/", "images/a/", "images/a/1.png", "images2/4.png"):
        bucket.put_object(Key=key, Body=b"x" if key[-1] != "/" else b"")

    assert RemoteStorage("s3://parts/images/", DOWNLOADS, is_fresh=True).names() == ["a/1.png"]


@pytest.mark.parametrize(
    "location",
    [
        "https://me:geheim@example.org/parts.zip",
        "https://geheim@example.org/parts.zip",
        "https://example.org/parts.zip?X-Amz-Signature=geheim&X-Amz-Expires=3",
        "https://example.org/parts.zip?sv=1&sig=geheim",
        "https://example.org/parts.zip?access_token=geheim",
        "https://example.org/parts.zip?api_key=geheim",
    ],
)
def test_a_url_with_credentials_is_refused_and_not_repeated(location: str) -> None:
    with pytest.raises(ParamsError, match=r"https://example\.org/parts\.zip with credentials") as refusal:
        source_of(f"archive:{location}", None)

    assert "geheim" not in str(refusal.value)


def test_a_server_that_leads_to_a_signed_url_does_not_make_it_known(server: Server) -> None:
    def redirect(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", f"http://me:geheim@127.0.0.1:9{handler.path}?X-Amz-Signature=geheim")
        handler.end_headers()

    server.answers["/parts.zip"] = redirect

    with pytest.raises(DataError, match="cannot be reached") as refusal:
        fetch(f"archive:{server.url}/parts.zip", None, RAW, lambda _: None)
    assert "geheim" not in str(refusal.value)


def test_a_folder_that_cannot_be_listed_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"https lists no folders: put its images into an archive, or name them in a"):
        source_of("folder:https://example.org/parts", None)


@pytest.mark.parametrize(("protocol", "extra"), [("s3", "s3"), ("gs", "gs"), ("gcs", "gs")])
def test_a_missing_package_is_named_by_its_extra(monkeypatch: pytest.MonkeyPatch, protocol: str, extra: str) -> None:
    import fsspec

    def url_to_fs(*_: object) -> None:
        raise ImportError("Install it")

    monkeypatch.setattr(fsspec, "url_to_fs", url_to_fs)

    with pytest.raises(DataError, match=rf"pip install 'reconv\[{extra}\]'"):
        fetch(f"archive:{protocol}://parts/packed.zip", None, RAW, lambda _: None)


def test_a_protocol_that_nobody_knows_is_named() -> None:
    with pytest.raises(DataError, match=r"data\.source names gopher://…, which cannot be opened \(Protocol not known"):
        fetch("folder:gopher://example.org/x", None, RAW, lambda _: None)


def test_credentials_come_from_netrc(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def ask_for_credentials(handler: Handler) -> None:
        given.append(handler.headers["Authorization"])
        handler.send_error(404)

    server.answers["/1.png"] = ask_for_credentials
    Path("netrc").write_text("machine 127.0.0.1 login me password geheim")
    monkeypatch.setenv("NETRC", "netrc")

    with pytest.raises(ImageError, match="not there"):
        RemoteStorage(server.url, DOWNLOADS).read("1.png")

    assert set(given) == {"Basic bWU6Z2VoZWlt"}


@pytest.mark.parametrize("location", ["https://[example.org/parts.zip", "http://[::1/parts.zip"])
def test_a_url_that_is_none_is_refused(location: str) -> None:
    with pytest.raises(ParamsError, match="a URL that is none"):
        source_of(f"archive:{location}", None)
