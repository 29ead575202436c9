"""What data.source may name. Without the libraries that read it, so that it is checked before a run."""

from collections.abc import Collection
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from reconv.data.remote import is_url, refuse_unusable
from reconv.errors import ParamsError

Kind = Literal["folder", "table", "archive"]
PUBLISHED = ("fashion-mnist", "mnist", "kmnist", "emnist", "cifar10", "cifar100", "svhn")
TABLES, ARCHIVES = (".csv", ".parquet"), (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")


def parse_source(spec: str, published: Collection[str] = PUBLISHED) -> tuple[Kind, str] | None:
    """Return the kind and the path or URL of files of images; None for one of the published sets.

    Raises:
        ParamsError: it is neither, or a URL that cannot be used.
    """
    kind, _, location = spec.partition(":")
    for known in get_args(Kind):
        if location and kind == known:
            if is_url(location):
                refuse_unusable(location, is_folder=kind == "folder")
                return known, location
            return known, str(Path(location).expanduser())
    if spec in published:
        return None
    kinds = ", ".join(f"{known}:PATH" for known in get_args(Kind))
    raise ParamsError(
        f"data.source is {spec!r}, must be one of {', '.join(published)}, {kinds} (each a path or a URL).\n"
        f"{_remedy(spec)}"
    )


def _remedy(spec: str) -> str:
    is_path = "/" in spec or (spec != "" and Path(spec).expanduser().exists())
    if not is_path or ":" in spec:
        return "Change it in params.yaml."
    return f"Write {kind_of(spec)}:{spec} in params.yaml."


def kind_of(location: str) -> Kind:
    """Return what a path or URL seems to be: a table or an archive by its suffix, anything else a folder."""
    name = urlsplit(location).path.lower() if is_url(location) else location.lower()
    if not is_url(location) and Path(location).expanduser().is_dir():
        return "folder"
    return "table" if name.endswith(TABLES) else "archive" if name.endswith(ARCHIVES) else "folder"
