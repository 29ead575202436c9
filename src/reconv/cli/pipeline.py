"""reconv run, report, ui: the pipeline and where one looks at it."""

import sys
import webbrowser

import click

from reconv.cli.conduct import FAILED, echo, silent, well_behaved


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
        echo(f"reconv: {check.name}: {check.text}\n        {check.remedy}", err=True)
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
    echo(f"{verdict.text}\n{verdict.why}\n{page.resolve()}".replace("\n\n", "\n"))
    if not no_open and sys.stdout.isatty():
        webbrowser.open(page.resolve().as_uri())


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=5000,
    show_default=True,
    help="Port on the loopback address; 0 for any free one.",
)
@well_behaved
def ui(port: int) -> None:
    """Open MLflow's pages on this machine, until Ctrl-C.

    Only the printed address, with its token, opens them: other users of this machine cannot use them.

    \b
    Examples:
      reconv ui
      reconv ui --port 5001
    """
    from reconv.masking import masked
    from reconv.params import load_params
    from reconv.tracking.server import tracking_uri

    uri = tracking_uri(load_params().resources)
    if uri.startswith(("http://", "https://")):
        echo(f"the runs are on MLflow's server: {masked(uri)}")
        return
    with silent():
        from reconv.local_server import listen
        from reconv.tracking.ui import mlflow_pages

        opened = listen(port)
        pages = mlflow_pages(uri)
    echo(f"{opened.secret_url}  (Ctrl-C ends it)")
    opened.serve(pages)
