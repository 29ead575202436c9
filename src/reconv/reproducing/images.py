"""The images that a training saw: those of data/prepared, or of an earlier state of it in DVC's cache."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from reconv.data.arrays import PreparedData
from reconv.errors import DataError, ReconvError
from reconv.submission.homecoming import cache_folder
from reconv.submission.outputs import link_directory


@contextmanager
def images_of(data_digest: str, prepared_md5: str) -> Iterator[PreparedData]:
    """`prepared_md5` is DVC's name of the folder.

    Raises:
        DataError: they are not on this machine any more.
    """
    here = _prepared(Path("data/prepared"))
    if here is not None and here.manifest.digest == data_digest:
        yield here
        return
    with TemporaryDirectory(prefix="reconv-") as folder:
        linked = Path(folder) / "prepared"
        found = bool(prepared_md5) and link_directory(cache_folder(), prepared_md5, linked)
        data = _prepared(linked) if found else None
        if data is None or data.manifest.digest != data_digest:
            raise DataError(
                f"the images that it saw (digest {data_digest[:12]}…) are neither data/prepared nor in DVC's cache: "
                "`git checkout` the commit of that run and `dvc repro prepare`, or `dvc pull`."
            )
        yield data


def _prepared(folder: Path) -> PreparedData | None:
    try:
        return PreparedData(folder)
    except ReconvError:
        return None
