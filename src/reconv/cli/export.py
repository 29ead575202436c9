"""reconv export: a registered classifier as a file that needs neither reconv nor torch."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconv.cli.conduct import as_json, echo, print_json, say_warning, silent, well_behaved

if TYPE_CHECKING:
    from reconv.exporting.quantised import Quantised


@click.command()
@click.option("--model", default="champion", show_default=True, help="Version, alias, models:/NAME@ALIAS or a folder.")
@click.option("--format", "_format", type=click.Choice(["onnx"]), default="onnx", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("model.onnx"), show_default=True)
@click.option("--quantise", "--quantize", "quantises", is_flag=True, help="Write 8 bits as well: OUT with .int8.onnx.")
@as_json
@well_behaved
def export(model: str, _format: str, out: Path, quantises: bool, wants_json: bool) -> None:
    """Write a classifier as an ONNX file.

    Raw pixels in, calibrated probabilities out, batches of any size. It is written once onnxruntime has given the same
    answers as torch, on the prepared test images where there are any. With --quantise the loss of accuracy is measured
    on all of them.

    \b
    Examples:
      reconv export
      reconv export --model 3 --out scratches.onnx --quantise
      reconv export --model models:/fashion-mnist@champion --json
    """
    with silent():
        from reconv.exporting.checking import prepared_for, require_packages
        from reconv.exporting.onnx import export_onnx
        from reconv.exporting.quantised import quantise
        from reconv.registry.resolving import resolve

        require_packages()
        resolved = resolve(model)
        # First: an export takes up to a minute.
        data = prepared_for(resolved.bundle) if quantises else None
        exported = export_onnx(resolved.bundle, out)
        quantised = quantise(out, data, out.with_suffix(".int8.onnx")) if data else None
    say_warning(resolved.warning)
    if wants_json:
        of_int8 = asdict(quantised) if quantised else None
        print_json({"model": resolved.title, "onnx": asdict(exported), "int8": of_int8})
        return
    echo(f"{out} · {exported.size_bytes / 1e6:.2f} MB · {resolved.title}")
    echo(
        f"probabilities differ from torch's by at most {exported.max_difference:.1g} on {exported.images:,} "
        f"{exported.kind} (tolerance {exported.tolerance:g})"
    )
    echo(f"inside: {exported.inside}\nto be done before: {exported.outside}")
    if quantised:
        echo(_in_words(quantised))


def _in_words(done: "Quantised") -> str:
    change = f"{abs(done.loss_points):.2f} points {'lost' if done.loss_points >= 0 else 'won'}"
    lines = [
        f"{done.file} · {done.size_bytes / 1e6:.2f} MB",
        f"accuracy on {done.test_images:,} test images: {done.float_accuracy:.2%} before, {done.int8_accuracy:.2%} "
        f"with 8 bits, {change} ({done.lost:,} right answers lost, {done.won:,} won)",
    ]
    lines += [
        f"{'one image' if one.batch == 1 else f'{one.batch} images'}: {one.float_ms:.3g} ms before, "
        f"{one.int8_ms:.3g} ms with 8 bits, on one core of this machine"
        for one in done.latency
    ]
    return "\n".join(lines)
