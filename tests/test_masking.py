"""No secret of a URI is shown, logged or recorded."""

import subprocess
import sys
from pathlib import Path

import pytest
from project_folder import change_params, environment

from reconv.errors import UnavailableError
from reconv.masking import masked
from reconv.params import THIS_MACHINE
from reconv.tracking.server import check_tracking

SECRET = "Sesam-0pen"
STAGE = """
import sys
from reconv.errors import UnavailableError
from reconv.stage import stage
with stage("prepare") as this:
    where = this.params.resources
    this.run.log_params({"storage": where.storage})
    this.run.set_tags({"where": f"see {where.tracking_uri} or {where.storage}"})
    this.run.describe(f"in {where.storage}")
    this.console.say(f"records go to {where.tracking_uri}")
    if sys.argv[1:]:
        raise {"user": UnavailableError, "bug": RuntimeError}[sys.argv[1]](f"{where.storage} is gone")
"""


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://me:Sesam-0pen@db:5432/runs", "postgresql://***@db:5432/runs"),
        ("postgresql+psycopg2://me:Sesam%2D0pen@/runs?host=/run/db", "postgresql+psycopg2://***@/runs?host=/run/db"),
        ("postgresql://me:Sesam-0pen/@#?x@db/runs", "postgresql://***@db/runs"),
        ("postgresql://me@db/runs?password=Sesam-0pen", "postgresql://***@db/runs?password=***"),
        ("postgresql://db/runs?sslmode=require&sslpassword=Sesam-0pen", "postgresql://db/runs?sslmode=require&sslpassword=***"),
        ("mysql://db/runs?p%61ssword=Sesam-0pen;charset=utf8", "mysql://db/runs?p%61ssword=***;charset=utf8"),
        ("https://Sesam-0pen@mlflow.example.com/", "https://***@mlflow.example.com/"),
        ("https://me:Sesam-0pen@mlflow.example.com:443/a@b", "https://***@mlflow.example.com:443/a@b"),
        ("s3://AKIA:Sesam-0pen@bucket/project", "s3://***@bucket/project"),
        ("s3://bucket/project?aws_secret_access_key=Sesam-0pen", "s3://bucket/project?aws_secret_access_key=***"),
        ("https://x.blob.core.windows.net/y?sv=1&sig=Sesam-0pen", "https://x.blob.core.windows.net/y?sv=***&sig=***"),
        ("https://x/y#access_token=Sesam-0pen", "https://x/y#access_token=***"),
    ],
)  # fmt: skip
def test_user_password_and_settings_are_masked_wherever_the_uri_stands(uri: str, shown: str) -> None:
    assert masked(uri) == shown
    assert masked(f"two: '{uri}' and {uri}") == f"two: '{shown}' and {shown}"


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////home/me/mlflow.db",
        "http://127.0.0.1:5000/#/experiments/1/runs/2",
        "s3://bucket/project/a@b",
        "http://host:8080/a@b",
        "models:/parts@champion, me@example.com, 10:30 a.m. @ home?x=1",
    ],
)
def test_what_holds_no_secret_stays(text: str) -> None:
    assert masked(text) == text


def test_an_error_that_repeats_a_part_of_its_uri_is_masked() -> None:
    uri = "postgresql://me:Sesam%2D0pen@db/runs"

    assert masked("password 'Sesam-0pen' (Sesam%2D0pen) is wrong for me", uri) == "password '***' (***) is wrong for me"


def test_a_password_that_is_not_escaped_is_not_repeated_as_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{SECRET}/x@127.0.0.1:1")

    with pytest.raises(UnavailableError, match="escape special characters") as refused:
        check_tracking(THIS_MACHINE)

    assert SECRET not in str(refused.value)


@pytest.mark.slow
def test_no_secret_of_params_yaml_reaches_a_store_a_log_or_the_terminal(project: Path) -> None:
    uri = f"sqlite:///{project / 'mlflow.db'}?password={SECRET}"
    change_params(project, {"resources.tracking_uri": uri, "resources.storage": f"s3://AKIA:{SECRET}@bucket/project"})

    for ending, code in ([], 0), (["user"], 1), (["bug"], 1):
        command = [sys.executable, "-c", STAGE, *ending]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=120)

        assert done.returncode == code
        assert "records go to sqlite:///" in done.stdout
        assert SECRET not in done.stdout + done.stderr

    kept = [path for path in project.rglob("*") if path.is_file() and path.name != "params.yaml"]
    assert {"mlflow.db", "prepare.log"} <= {path.name for path in kept}
    assert "***@bucket/project" in (project / "mlflow.db").read_bytes().decode("utf-8", "replace")
    assert [path for path in kept if SECRET.encode() in path.read_bytes()] == []
