"""Files behind a URL that fsspec can open (s3://, gs://, https:// and others). Each is downloaded once, to a copy that
stays, so that `prepare` needs no network and an interrupted `fetch` goes on. Called by files.

Credentials are the tools' own matter (their environment variables and files); a URL that holds some is refused.
"""

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, quote, urlsplit

from reconv.data.storage import HEAD_BYTES, all_within, check_size, read_file
from reconv.errors import DataError, ImageError, ParamsError
from reconv.files import atomic

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "http": "http", "https": "http"}
_SECRETS = re.compile(r"signature|credential|token|secret|passw|^sig$|key(id)?$", re.IGNORECASE)
_VERSION = ("size", "ETag", "etag", "md5Hash", "LastModified", "Last-Modified", "updated", "created", "mtime")
"""What some file system or other says of a file that changes with its content."""
_CHUNK_BYTES = 8 * 2**20
_CONNECT_SECONDS, _SILENT_SECONDS = 30, 60


def is_url(location: str) -> bool:
    return "://" in location


def parent_of(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[0]


def refuse_unusable(url: str, is_folder: bool) -> None:
    """Raises ParamsError if the URL holds credentials, since its text goes to git, dvc.lock and MLflow, or if it is of
    a folder whose files it cannot list."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ParamsError(f"data.source names a URL that is none ({error}): correct it in params.yaml.") from None
    is_http = parts.scheme in ("http", "https")
    if is_folder and is_http:
        raise ParamsError(
            f"data.source names the folder {_without_secrets(url)}, but https lists no folders: put its images into an "
            "archive, or name them in a table beside them (archive:URL, table:URL)."
        )
    has_user = parts.password or (is_http and parts.username)  # elsewhere the latter may be a container's name
    if has_user or any(_SECRETS.search(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        raise ParamsError(
            f"data.source names {_without_secrets(url)} with credentials, which dvc.lock and MLflow would keep: leave "
            "them to the environment variables of s3fs or gcsfs, or to ~/.netrc, or download it yourself."
        )


class RemoteStorage:
    """The files below `root`, by way of copies in `folder`, whose names are sums of their URLs and versions.

    With `is_fresh` a copy is made anew when the remote file is another by now, as far as its server tells; without, a
    copy is taken as it is.
    """

    num_threads = 16

    def __init__(self, root: str, folder: Path, is_fresh: bool = False) -> None:
        self._root = root.rstrip("/")
        self._folder = folder
        self._is_fresh = is_fresh
        self._is_http = root.startswith("http")

    def __reduce__(self) -> tuple[type, tuple[str, Path, bool]]:
        return type(self), (self._root, self._folder, self._is_fresh)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def names(self) -> list[str]:
        try:
            with self._reaching(self._root):
                root = self._path(self._root).rstrip("/") + "/"
                names = [path.removeprefix(root) for path in self._files.find(root)]
        except ImageError as error:
            raise DataError(f"{self._root} {error}: correct data.source in params.yaml.") from None
        return all_within([name for name in names if name and not name.endswith("/")], self._root)

    def read(self, name: str) -> bytes:
        return read_file(self.copy_of(self._url(name), is_image=True), name)

    def head(self, name: str) -> bytes:
        """Ask the server for these bytes only: a file of another kind may have gigabytes."""
        url = self._url(name)
        with self._reaching(url):
            if self._files.info(self._path(url)).get("size") == 0:  # there are no such bytes to ask for
                return b""
            head: bytes = self._files.cat_file(self._path(url), start=0, end=HEAD_BYTES)
            return head

    def _url(self, name: str) -> str:
        return f"{self._root}/{quote(name) if self._is_http else name}"

    def folders(self) -> list[str]:
        return []

    def expect(self, names: Sequence[str]) -> None:
        pass

    def stamp(self, _: str) -> str:
        """Servers do not agree on how to tell; a copy that is there already is read fast."""
        return ""

    def copy_of(self, url: str, is_image: bool = False) -> Path:
        """A local file with the content of the remote one; of an image at most MAX_FILE_BYTES are downloaded.

        Raises:
            ImageError: there is none, or it is an image that is too large.
            DataError: it cannot be reached.
        """
        key = sha256(url.encode()).hexdigest()[:32]
        shelf = self._folder / key[:3]  # a million copies in one folder would be slow to find
        copies = list(shelf.glob(f"{key}-*"))
        if copies and not self._is_fresh:
            return copies[0]
        with self._reaching(url):
            about = self._files.info(self._path(url))
        version = sha256(repr([str(about.get(name)) for name in _VERSION]).encode()).hexdigest()[:16]
        current = shelf / f"{key}-{version}"
        if current not in copies:
            self._download(url, about, current, is_image)
        for outdated in set(copies) - {current}:
            outdated.unlink()
        return current

    def _download(self, url: str, about: dict[str, Any], to: Path, is_image: bool) -> None:
        if is_image:
            check_size(about.get("size") or 1)
        with atomic(to) as temporary, temporary.open("wb") as file, closing(self._chunks(url, about)) as chunks:
            for chunk in chunks:
                file.write(chunk)
                if is_image:
                    check_size(file.tell())  # the size that the server states may be a lie

    def _chunks(self, url: str, about: dict[str, Any]) -> Generator[bytes, None, None]:
        # Of http a stream, since servers need not know ranges; with the size it does not ask for it once more.
        options = {"block_size": 0, "size": about.get("size")} if self._is_http else {"block_size": _CHUNK_BYTES}
        with self._reaching(url), self._files.open(self._path(url), "rb", **options) as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    @cached_property
    def _files(self) -> "AbstractFileSystem":
        import fsspec

        protocol = self._root.partition("://")[0]
        try:
            files, _ = fsspec.url_to_fs(self._root, **(_http_options() if self._is_http else {}))
        except ImportError as error:
            remedy = f"pip install 'reconv[{_EXTRAS[protocol]}]'" if protocol in _EXTRAS else str(error)
            raise DataError(f"data.source names {protocol}://…, for which a package is missing: {remedy}.") from None
        except ValueError as error:
            raise DataError(
                f"data.source names {protocol}://…, which cannot be opened ({error}): correct it."
            ) from None
        if self._is_fresh:
            files.invalidate_cache()  # listings of an earlier fetch of this process
        return files

    def _path(self, url: str) -> str:
        """As the file system wants it."""
        path: str = self._files._strip_protocol(url)
        return path

    @contextmanager
    def _reaching(self, url: str) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except Exception as error:  # each file system has exceptions of its own
            if self._is_missing(error):
                raise ImageError("cannot be read (it is not there)") from None
            raise DataError(
                f"{_without_secrets(url)} cannot be reached ({_reason(error)}): correct data.source, your credentials "
                "or the network, then run the same command to go on."
            ) from None

    def _is_missing(self, error: Exception) -> bool:
        """fsspec's http says "not found" of every failure to ask for a size, whatever the cause was."""
        is_http_failure = self._is_http and error.__cause__ is not None
        return isinstance(error, FileNotFoundError) and (
            not is_http_failure or getattr(error.__cause__, "status", None) in (404, 410)
        )


def _http_options() -> dict[str, Any]:
    """Proxies and ~/.netrc as elsewhere, and no limit on a whole download (aiohttp's own is five minutes)."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS)
    return {"client_kwargs": {"trust_env": True, "timeout": timeout}}


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error
    text = f"{getattr(cause, 'status', '')} {getattr(cause, 'message', '') or cause}".strip() or type(cause).__name__
    return _without_secrets(text.splitlines()[0])


def _without_secrets(text: str) -> str:
    """URLs in it lose what may be one: user, password and query."""
    return re.sub(r"(?<=://)[^/@\s]*@|\?[^\s'\")]*", "", text)
