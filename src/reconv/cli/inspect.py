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
    by the same gate as in a run. Exit code 1 if a run would not begin.

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
    sys.exit(FAILED if found.stopped else 0)


def _as_dict(found: "Inspected") -> dict[str, Any]:
    return {
        "source": found.source,
        "stopped": found.stopped,
        "counts": found.manifest.counts if found.manifest else {},
        "image_shape": found.manifest.image_shape if found.manifest else None,
        "images_per_class": found.report.images_per_class if found.report else {},
        "findings": [one.model_dump(mode="json", exclude={"pictures"}) for one in found.findings],
    }


def _in_words(found: "Inspected") -> str:
    from reconv.data.gate import in_words

    if found.manifest is None or found.report is None:
        return f"{found.source}: a run would stop here.\n{found.stopped}"
    per_class, counts = found.report.images_per_class, found.manifest.counts
    height, width, channels = found.manifest.image_shape
    rows = [["class", *counts], *([name, *(f"{per_class[s][name]:,}" for s in counts)] for name in per_class["train"])]
    rows.append(["all", *(f"{count:,}" for count in counts.values())])
    lines = [
        f"{found.source}: {sum(counts.values()):,} images, as {height} x {width} x {channels}",
        "",
        table(rows),
        "",
    ]
    lines += [in_words(one) for one in found.findings] or ["nothing is wrong with them"]
    if not found.source.startswith(("folder:", "table:", "archive:")):
        return "\n".join(lines)
    return "\n".join([*lines, "", f"to train on them: data.source: {found.source} in params.yaml, then reconv run"])
