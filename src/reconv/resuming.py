"""What an interrupted stage goes on from, and when that has become something else. Called by the stages that train."""

from pathlib import Path
from typing import Any

from reconv.files import AnyPath, clear_dir, digest_of, opened_store, sha256_of_file, write_text
from reconv.places import STATE


def resumable_dir(name: str, fingerprint: Any, storage: str | None = None) -> AnyPath:
    """Where an interrupted stage keeps what it has: nothing if `fingerprint` or the code is no longer the same.

    In `storage` (a URL) every fingerprint has a folder of its own, so that several projects may share one.
    """
    key = digest_of({"fingerprint": fingerprint, "code": code_digest()})
    if storage:
        return opened_store(storage) / "state" / name / key[:32]
    folder = STATE / name
    mark = folder / "fingerprint"
    if not mark.exists() or mark.read_text() != key:
        clear_dir(folder)
        write_text(mark, key)
    return folder


def code_digest() -> str:
    """SHA-256 over the source files that decide the outcome of a training."""
    package = Path(__file__).parent
    sources = [
        package / "domains.py",
        package / "params.py",
        *(p for d in ("data", "models", "training", "search") for p in (package / d).glob("*.py")),
    ]
    return digest_of({str(path.relative_to(package)): sha256_of_file(path) for path in sorted(sources)})
