"""reconv run, report, ui: the pipeline and where one looks at it."""

import os
import sys
import webbrowser
from pathlib import Path

import click

from reconv.cli.conduct import FAILED, well_behaved


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@well_behaved
def run(arguments: tuple[str, ...]) -> None:
    """Run the pipeline, after a look at what would stop it.

    It is `dvc repro`, whose arguments ARGUMENTS are.

    \b
    Examples:
      reconv run
      reconv run train@cnn
      reconv run --force fetch
    """
    from reconv.dead_locks import check_not_busy
    from reconv.doctor import before_a_run
    from reconv.repro import repro

    check_not_busy()
    problems = [check for check in before_a_run() if check.state == "problem"]
    for check in problems:
        click.echo(f"reconv: {check.name}: {check.text}\n        {check.remedy}", err=True)
    if problems:
        sys.exit(FAILED)
    sys.exit(repro(arguments))


@click.command()
@click.option("--no-open", is_flag=True, help="Print where it is, and open no browser.")
@well_behaved
def report(no_open: bool) -> None:
    """Open the report of the last run.

    \b
    Examples:
      reconv report
      reconv report --no-open
    """
    from reconv.artifacts import Verdict
    from reconv.errors import DataError
    from reconv.places import COMPARE

    page = COMPARE / "report.html"
    if not page.exists():
        raise DataError(f"{page} is missing: `reconv run` makes it.")
    verdict = Verdict.load(COMPARE / "verdict.json")
    click.echo(f"{verdict.text}\n{verdict.why}\n{page.resolve()}".replace("\n\n", "\n"))
    if not no_open and sys.stdout.isatty():
        webbrowser.open(page.resolve().as_uri())


@click.command()
@click.option("--port", default=5000, show_default=True, help="Of the loopback address.")
@well_behaved
def ui(port: int) -> None:
    """Open MLflow's pages on this machine, until Ctrl-C.

    \b
    Examples:
      reconv ui
      reconv ui --port 5001
    """
    from reconv.params import load_params
    from reconv.tracking.server import shown, tracking_uri

    uri = tracking_uri(load_params().resources)
    if uri.startswith(("http://", "https://")):
        click.echo(f"the runs are on MLflow's server: {shown(uri)}")
        return
    click.echo(f"http://127.0.0.1:{port}  (Ctrl-C ends it)")
    os.environ.update(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", MLFLOW_DISABLE_TELEMETRY="true")
    mlflow = Path(sys.executable).with_name("mlflow")
    os.execv(mlflow, [str(mlflow), "ui", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port)])
