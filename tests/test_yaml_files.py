"""Values of YAML files: those that DVC finds in them."""

from pathlib import Path

import pytest
from dvc.utils.serialize import parse_yaml as parsed_by_dvc

from reconv.yaml_files import parse_yaml, read_yaml, write_yaml

SCALARS = """
012 -0o7 0o14 0b11 0x1F 1_000 +5 08 0_1 on off yes no y true True 1:30 1:30.5 1e-3 1E3 12e03 1.e5 .5 .5e3 .5e+3 +.5
1_0.5 -.inf .nan 1e ~ null NaN 2020-01-01 text "012" 'on'
"""


@pytest.mark.parametrize("text", SCALARS.split())
def test_a_value_is_what_dvc_reads(text: str) -> None:
    assert repr(parse_yaml(f"value: {text}")) == repr(parsed_by_dvc(f"value: {text}", "params.yaml"))


def test_values_come_back_as_they_were() -> None:
    texts = [text.strip("'\"") for text in SCALARS.split()]
    values = {"values": {"lr": 1e-3, "widths": [4, 8], "texts": texts, "on": True}}
    write_yaml(Path("best.yaml"), values)

    assert read_yaml(Path("best.yaml")) == values
    assert parsed_by_dvc(Path("best.yaml").read_text(), "best.yaml") == values
