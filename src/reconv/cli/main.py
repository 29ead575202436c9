"""The group of all commands. Called by the console script `reconv`."""

import click

from reconv.cli.demo import demo
from reconv.cli.doctor import doctor
from reconv.cli.export import export
from reconv.cli.inspect import inspect
from reconv.cli.models import models, promote, rollback
from reconv.cli.pipeline import report, run, ui
from reconv.cli.predict import predict
from reconv.cli.reproduce import reproduce
from reconv.cli.retrain import retrain

_EPILOG = """
\b
Examples:
  reconv doctor                                is this machine ready?
  reconv run                                   the whole pipeline, as `make repro`
  reconv predict photos/ --out answers.parquet what the champion says of them
  reconv retrain                               what a schedule calls every night

\b
Exit codes:
  0    done
  1    not done: the message says why, and what to do
  2    the command line is not understood
  75   another run holds the lock (retrain): try again later
  130  interrupted: the same command goes on
"""


class _InOrder(click.Group):
    """Commands as one needs them, not by the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=_InOrder, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="reconv")
def main() -> None:
    """Is a convolutional network worth it on your images? Search, train, compare, promote and serve, with error bars.

    Works in the project's folder, where params.yaml is.
    """


for _command in (
    *(doctor, inspect, run, report, ui),
    *(predict, demo, export),
    *(retrain, models, promote, rollback, reproduce),
):
    main.add_command(_command)
