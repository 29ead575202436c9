"""reconv retrain: what a schedule calls."""

import sys
from contextlib import nullcontext

import click

from reconv.cli.conduct import BUSY, FAILED, as_json, only_json, print_json, silent, well_behaved


@click.command()
@click.option("--dry-run", is_flag=True, help="Train and compare, register nothing: say what the gate would decide.")
@click.option("--submit", is_flag=True, help="Have the Ray cluster behind RAY_API_SERVER_ADDRESS do the work.")
@as_json
@well_behaved
def retrain(dry_run: bool, submit: bool, wants_json: bool) -> None:
    """Retrain on whatever is new, and promote what is better.

    Looks at the source again. Where images, parameters or code have changed it runs the pipeline and lets the gate
    decide: a champion is replaced on evidence alone. With nothing new it leaves at once. What came of it stands in
    logs/retrain/ and in MLflow.

    \b
    Exit codes:
      0    done, whatever the gate decided, or nothing was new
      1    it could not go on: the message says why, and the next one goes on
      75   another one is at work here

    \b
    Examples:
      reconv retrain                 from cron, a timer or a hand
      reconv retrain --dry-run       would the new model be promoted?
      reconv retrain --submit        the same, as a job of a cluster
      reconv retrain --json | jq .ended
    """
    from reconv.console import Console
    from reconv.errors import BusyError, ReconvError
    from reconv.params import load_params
    from reconv.retraining.record import RECORDS, in_one_line, send
    from reconv.retraining.retrain import retrain as run

    console = Console("retrain", None, sys.stderr if wants_json else sys.stdout)
    failed = None
    try:
        with only_json() if wants_json else nullcontext():
            record = run(console.say, console.print, dry_run, submit)
    except BusyError as error:
        console.say(str(error))
        sys.exit(BUSY)
    except ReconvError as error:
        console.say(f"stopped: {error}")
        failed, record = error, None
    if record is not None:
        console.say(in_one_line(record))
        if wants_json:
            print_json(record.model_dump(mode="json"))
        if record.ended == "unchanged":
            return
    with silent():
        sent, why_not = send(load_params())
    for name, run_id in sent.items():
        console.say(f"record: {RECORDS / name} · MLflow run {run_id[:8]}")
    if why_not:
        console.say(f"the record is in {RECORDS}; MLflow gets it next time ({why_not})")
    if failed is not None:
        sys.exit(FAILED)
