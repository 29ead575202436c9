from pathlib import Path

import pytest

from reconv.tracking.lineage import dvc_hashes


def test_dvc_hashes_are_those_of_every_output() -> None:
    Path("dvc.lock").write_text(
        """
schema: '2.0'
stages:
  fetch:
    outs:
    - {path: data/raw, hash: md5, md5: abc.dir}
    - {path: not-cached}
  search@cnn:
    deps: [{path: data/raw, md5: other}]
    outs:
    - {path: results/search/cnn/best.json, md5: def}
  nothing: {cmd: true}
"""
    )

    assert dvc_hashes() == {"data/raw": "abc.dir", "results/search/cnn/best.json": "def"}


@pytest.mark.parametrize("text", [None, "", "schema: '2.0'\n"])
def test_dvc_hashes_are_empty_before_the_first_run(text: str | None) -> None:
    if text is not None:
        Path("dvc.lock").write_text(text)

    assert dvc_hashes() == {}
