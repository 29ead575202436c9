"""reconv demo: drop an image on a page, and see what the champion and the baseline say of it."""

import sys

import click

from reconv.cli.conduct import echo, say_warning, silent, table, well_behaved


@click.command()
@click.option("--model", default="champion", show_default=True, help="Version, alias, models:/NAME@ALIAS or a folder.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8601,
    show_default=True,
    help="Of the loopback address; 0 is any that is free.",
)
@click.option("--no-open", is_flag=True, help="Print where it is, and open no browser.")
@well_behaved
def demo(model: str, port: int, no_open: bool) -> None:
    """Open a page to drop images on, and see both answers.

    The champion's and the baseline's side by side, with the calibrated probability of each class and Grad-CAM, which
    shows where the champion looks. Only the printed address, with its token, opens the page; no image is kept or
    leaves this machine.

    \b
    Examples:
      reconv demo
      reconv demo --model 3 --port 8602
      reconv demo --model results/train/cnn/seed-0 --no-open
    """
    with silent():
        from reconv.demo.answers import rehearse
        from reconv.demo.contenders import contenders_of
        from reconv.demo.server import page_app
        from reconv.local_server import listen

        opened = listen(port)
        contenders = contenders_of(model)
        rehearse(contenders)
    say_warning(contenders.warning)
    echo(table([[one.role, one.title, one.origin] for one in contenders.all]))
    if contenders.why_alone:
        echo(contenders.why_alone)
    echo(f"{opened.secret_url}  (Ctrl-C ends it)")
    opened.serve(page_app(contenders), opens_browser=not no_open and sys.stdout.isatty())
