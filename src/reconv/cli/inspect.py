"""reconv inspect: what is in a source of images, and what is wrong with it."""

import sys
from typing import TYPE_CHECKING, Any

import click

from reconv.cli.conduct import FAILED, as_json, echo, print_json, table, well_behaved
from reconv.cli.status import StatusLine

if TYPE_CHECKING:
    from reconv.inspection import Inspected


@click.command("inspect")
@click.argument("data")
@as_json
@well_behaved
def inspect(data: str, wants_json: bool) -> None:
    """Say what is in a source of images and what is wrong with it.

    DATA is a folder, table, archive, URL or published set. Images are decoded as params.yaml says, split, and looked at
    by the same gate as in a run. Everything that would stop a run is listed at once; the exit code is then 1.

    \b
    Examples:
      reconv inspect /data/parts
      reconv inspect s3://bucket/parts.zip
      reconv inspect labels.csv --json | jq .findings
    """
    from reconv import inspection
    from reconv.params import load_params

    line = StatusLine("images decoded", quiet=wants_json)
    found = inspection.inspect(data, load_params().data, line.show)
    line.clear()
    if wants_json:
        print_json(_as_dict(found))
    else:
        echo(_in_words(found))
    sys.exit(FAILED if found.problems else 0)


def _as_dict(found: "Inspected") -> dict[str, Any]:
    from reconv.data.gate import in_words

    return {
        "source": found.source,
        "stopped": "\n".join(map(in_words, found.problems)),
        "counts": found.counts,
        "image_shape": found.image_shape,
        "images_per_class": found.images_per_class,
        "findings": [one.model_dump(mode="json", exclude={"pictures"}) for one in found.findings],
    }


def _in_words(found: "Inspected") -> str:
    from reconv.data.gate import in_words

    height, width, channels = found.image_shape
    total = f"{sum(found.counts.values()):,} images"
    lines = [f"{found.source}: {total}, as {height} x {width} x {channels}", "", _counts(found), ""]
    if found.problems:
        lines += ["a run would stop here:", *map(in_words, found.problems), ""]
    others = [in_words(one) for one in found.findings if one not in found.problems]
    if found.problems and others:
        lines.append("and it would warn:")
    lines += others or ([] if found.problems else ["nothing is wrong with them"])
    if found.problems or not found.source.startswith(("folder:", "table:", "archive:")):
        return "\n".join(lines).rstrip("\n")
    return "\n".join([*lines, "", f"to train on them: data.source: {found.source} in params.yaml, then reconv run"])


def _counts(found: "Inspected") -> str:
    """Return a table of the images of each class and split."""
    per_class, counts = found.images_per_class, found.counts
    rows = [["class", *counts], *([name, *(f"{per_class[s][name]:,}" for s in counts)] for name in per_class["train"])]
    return table([*rows, ["all", *(f"{count:,}" for count in counts.values())]])
