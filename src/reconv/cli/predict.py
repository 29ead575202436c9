"""reconv predict: a registered classifier's answers to any images."""

from dataclasses import asdict
from pathlib import Path

import click

from reconv.cli.conduct import as_json, echo, print_json, say_warning, silent, well_behaved
from reconv.cli.status import StatusLine
from reconv.untrusted import printable

_SHOWN = 5


@click.command()
@click.argument("images")
@click.option("--model", default="champion", show_default=True, help="Version, alias, models:/NAME@ALIAS or a folder.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("predictions.parquet"), show_default=True)
@click.option("--path", help="Column of a table with the paths, or a pattern: images/{id}.png.")
@as_json
@well_behaved
def predict(images: str, model: str, out: Path, path: str | None, wants_json: bool) -> None:
    """Say what images show, in a table with calibrated probabilities.

    IMAGES is a folder, table, archive, image or URL, or packed pixels (.npy). Writes a row per image: class,
    confidence, and the probability of each class; what cannot be decoded is named there too. Many images are spread
    over all cores, or over the Ray cluster that RAY_ADDRESS names. After an interruption the same command goes on.

    \b
    Examples:
      reconv predict photos/
      reconv predict s3://bucket/photos.zip --out photos.csv
      reconv predict table.csv --model 3 --json
      reconv predict test.csv --path 'test_images/{id_code}.png'
      reconv predict data/prepared/test-images-000.npy --model models:/fashion-mnist@champion
    """
    with silent():
        from reconv.data.gate import in_words, skipped_files
        from reconv.params import THIS_MACHINE, ColumnsParams
        from reconv.prediction import predict as prediction
        from reconv.registry.resolving import project_params, resolve

        params, resolved = project_params(), resolve(model)
    say_warning(resolved.warning)
    line = StatusLine("images answered", quiet=wants_json)
    with silent():
        resources = params.resources if params else THIS_MACHINE
        done = prediction.predict(images, resolved.bundle, out, resources, line.show, ColumnsParams(path=path or None))
    line.clear()
    if wants_json:
        skipped = [group.model_dump(mode="json") for group in done.skipped]
        print_json({"out": str(out), "model": resolved.title, **asdict(done), "skipped": skipped})
        return
    before = f" ({done.answered_before:,} of them before)" if done.answered_before else ""
    speed = f" · {(done.images - done.answered_before) / done.seconds:,.0f} images/s" if done.seconds else ""
    echo(f"{done.images:,} images{before} answered by {resolved.title}{speed} · {out}")
    if done.num_problems:
        what = "is no image" if done.num_problems == 1 else "are no images"
        echo(f"{done.num_problems:,} of them {what} that can be used:")
        for image, problem in list(done.problems.items())[:_SHOWN]:
            echo(f"  - {printable(image)} {printable(problem)}")
        if done.num_problems > _SHOWN:
            echo(f"  - and {done.num_problems - _SHOWN:,} more, in the column `problem`")
    if done.skipped:
        echo(in_words(skipped_files(done.skipped)))
    most = ", ".join(f"{printable(name)} {count:,}" for name, count in list(done.classes.items())[:_SHOWN])
    echo(f"most often: {most}" + (" …" if len(done.classes) > _SHOWN else ""))
