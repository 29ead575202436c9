"""What `dvc plots` draws of the comparison: a table of the classes, and the pictures of what the network learned."""

from pathlib import Path

import pandas as pd

from reconv.files import write_bytes, write_csv
from reconv.report.galleries import galleries
from reconv.report.page import Contents
from reconv.report.pictures import as_png
from reconv.untrusted import as_plotted


def write_plots(contents: Contents, out: Path) -> list[Path]:
    """Write plots/classes.csv, and pictures/ with a PNG file per gallery; return the pictures."""
    rows = [{"class": as_plotted(one.name), "points": one.difference * 100} for one in contents.verdict.classes]
    classes = pd.DataFrame(rows)
    write_csv(out / "plots" / "classes.csv", classes)
    found = galleries(contents.explanation, contents.pictures)
    pictures = {out / "pictures" / f"{name}.png": gallery for name, gallery in found.items()}
    (out / "pictures").mkdir(parents=True, exist_ok=True)  # an output, also without a picture
    for path, gallery in pictures.items():
        write_bytes(path, as_png(gallery.as_picture()))
    return list(pictures)
