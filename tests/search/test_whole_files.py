import errno
import resource
from pathlib import Path

import pytest
from pyarrow.fs import FSSpecHandler, PyFileSystem

from reconv.search.whole_files import WholeFiles


@pytest.fixture
def system() -> PyFileSystem:
    return PyFileSystem(FSSpecHandler(WholeFiles()))


def test_a_file_is_what_it_was_until_it_is_closed(system: PyFileSystem, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("before")
    stream = system.open_output_stream(str(path))
    stream.write(b"after it ")
    assert path.read_text() == "before"
    stream.write(b"was closed")
    stream.close()
    assert path.read_text() == "after it was closed"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_could_not_be_written_leaves_the_one_before(system: PyFileSystem, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    stream = system.open_output_stream(str(path))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError) as refused:
            stream.write(bytes(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        stream.close()
    assert refused.value.errno == errno.EFBIG
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
