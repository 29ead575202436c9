"""`reconv models`: what the gate said of each version."""

import pytest
from click.testing import CliRunner

from reconv.artifacts import PairedTest
from reconv.cli.models import models
from reconv.tracking.server import connect, tracking_uri

SCREEN = PairedTest(
    champion="1",
    level=0.19,
    num_images=6000,
    accuracy=0.939,
    champion_accuracy=0.9402,
    only_candidate=80,
    only_champion=87,
    p_value=0.73,
)


@pytest.mark.usefixtures("project")
def test_a_version_that_was_screened_out_says_so(params) -> None:
    client = connect(tracking_uri(params.resources))
    client.create_registered_model("images")
    client.create_model_version("images", "file:///gone", tags={"reconv.screen": SCREEN.model_dump_json()})

    told = CliRunner().invoke(models)

    assert told.exit_code == 0, told.output
    assert "-0.12 points over version 1, p 0.73 (validation images: screened out)" in told.output
