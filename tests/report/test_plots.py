import dataclasses
from pathlib import Path

import pandas as pd
from PIL import Image

from reconv.report.page import Contents
from reconv.report.plots import write_plots

OUT = Path("compare")


def test_every_gallery_is_a_picture_and_every_class_a_row(contents: Contents) -> None:
    pictures = write_plots(contents, OUT)

    assert [path.stem for path in pictures] == ["filters", "edges", "patches", "answers", "mistakes", "suspects"]
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert picture.width > 200
    classes = pd.read_csv(OUT / "plots" / "classes.csv")
    assert classes["class"].tolist() == [one.name.replace("<", "‹") for one in contents.verdict.classes]
    assert classes["points"].tolist() == [one.difference * 100 for one in contents.verdict.classes]


def test_what_there_is_not_has_no_picture(contents: Contents) -> None:
    nothing = contents.explanation.model_copy(
        update=dict.fromkeys(("filters", "layers", "answers", "mistakes", "suspects"), ())
    )

    assert write_plots(dataclasses.replace(contents, explanation=nothing), OUT) == []
    assert list((OUT / "pictures").iterdir()) == []
    assert (OUT / "plots" / "classes.csv").exists()
