from typing import Any

import pandas as pd
import pytest

from reconv.artifacts import DataFinding
from reconv.data.gate import check, in_words, printable, refuse_unusable
from reconv.errors import DataError
from reconv.params import DataParams, Params

CLASSES = ("cat", "dog")


@pytest.fixture
def data(params: Params) -> DataParams:
    return params.data.model_copy(update={"image_size": 8})


def table(count: int = 120, **changes: dict[int, Any]) -> pd.DataFrame:
    """Of usable images in turn of both classes; `changes` are column={row: value}."""
    rows = pd.DataFrame(
        {
            "path": [f"{row:03d}.png" for row in range(count)],
            "label": [row % 2 for row in range(count)],
            "split": "",
            "group": "",
            "sha256": [f"{row:064d}" for row in range(count)],
            "height": 9,
            "width": 10,
            "grey": True,
            "problem": "",
        }
    )
    for column, values in changes.items():
        for row, value in values.items():
            rows.loc[row, column] = value
    return rows


def found(rows: pd.DataFrame, data: DataParams, splits: "pd.Series[str] | None" = None) -> dict[str, DataFinding]:
    usable = rows[rows["problem"] == ""]
    chosen = usable["split"].replace("", "train") if splits is None else splits
    return {one.kind: one for one in check(rows, chosen, CLASSES, data)}


def split_table(**changes: dict[int, Any]) -> pd.DataFrame:
    """With splits of its own."""
    rows = table(**changes)
    rows["split"] = ["train"] * 80 + ["validation"] * 20 + ["test"] * 20
    return rows


def test_good_images_have_no_findings(data: DataParams) -> None:
    assert found(table(), data) == {}
    assert found(split_table(), data) == {}


def test_unusable_files_are_named_and_left_out(data: DataParams) -> None:
    rows = table(problem={3: "has 0 bytes", 5: "cannot be decoded (broken)"})

    finding = found(rows, data)["unusable"]

    assert (finding.severity, finding.count) == ("warning", 2)
    assert finding.files == ("003.png has 0 bytes", "005.png cannot be decoded (broken)")
    assert "2 of 120 files" in finding.text


def test_too_many_unusable_files_stop_it(data: DataParams) -> None:
    rows = table(problem=dict.fromkeys(range(7), "has 0 bytes"))

    with pytest.raises(
        DataError, match=r"7 of 120 files .* 5\.8%; data\.max_bad_share allows 5\.0%.*\n.*000\.png has 0"
    ):
        refuse_unusable(rows, data)
    refuse_unusable(rows, data.model_copy(update={"max_bad_share": 0.06}))


def test_one_unusable_file_stops_who_wants_that(data: DataParams) -> None:
    with pytest.raises(DataError, match=r"1 of 120 files .* or set data\.on_bad_image: quarantine"):
        refuse_unusable(table(problem={0: "has 0 bytes"}), data.model_copy(update={"on_bad_image": "fail"}))


def test_the_same_image_in_two_classes_is_named_first(data: DataParams) -> None:
    rows = table(sha256={0: "f" * 64, 1: "f" * 64, 2: "e" * 64, 4: "e" * 64}, problem={9: "has 0 bytes"})

    kinds = list(found(rows, data))

    assert kinds == ["unusable", "conflicting labels", "duplicates"]
    assert found(rows, data)["conflicting labels"].files == ("000.png is cat", "001.png is dog")
    assert found(rows, data)["duplicates"].files == ("001.png", "004.png")


@pytest.mark.parametrize(("column", "value"), [("sha256", "f" * 64), ("group", "patient 3")])
def test_leakage_of_a_given_split_stops_it_unless_it_is_allowed(data: DataParams, column: str, value: str) -> None:
    rows = split_table(**{column: {4: value, 110: value}})

    with pytest.raises(DataError, match=r"2 files have the same .*data\.allow_leakage: true\.\n  - 004\.png in train"):
        found(rows, data)

    allowed = found(rows, data.model_copy(update={"allow_leakage": True}))
    (leaking,) = (one for kind, one in allowed.items() if kind.startswith("leaking"))
    assert leaking.severity == "warning"


def test_a_class_that_a_given_split_has_not_stops_it(data: DataParams) -> None:
    rows = split_table()
    rows.loc[rows["split"] == "test", "label"] = 0

    with pytest.raises(DataError, match=r'class "dog" has no image in test: every split needs every class'):
        found(rows, data)


def test_all_errors_are_told_at_once(data: DataParams) -> None:
    rows = split_table(sha256={4: "f" * 64, 110: "f" * 64})
    rows.loc[rows["split"] == "validation", "label"] = 1

    with pytest.raises(DataError, match=r"(?s)the same content.*class \"cat\" has no image in validation"):
        found(rows, data)


def test_few_images_and_imbalance_are_said(data: DataParams) -> None:
    rows = table(label=dict.fromkeys(range(1, 112), 0))

    findings = found(rows, data)

    assert findings["few images"].text == "less than 20 training images of dog (4)."
    assert findings["imbalance"].text == "cat has 29 times the training images of dog."


def test_images_that_have_to_be_enlarged_are_said(data: DataParams) -> None:
    finding = found(table(height={7: 5}, width={8: 7}), data)["small images"]

    assert finding.files == ("007.png is 5 x 10", "008.png is 9 x 7")


def test_where_most_images_are_small_they_are_not_named_one_by_one(data: DataParams) -> None:
    finding = found(table().assign(height=5), data)["small images"]

    assert finding.files == ()
    assert finding.text.startswith("120 of 120 images have a side of less than data.image_size (8) pixels")


def test_classes_that_differ_in_case_alone_are_said(data: DataParams) -> None:
    findings = check(table(), pd.Series("train", range(120)), ("Cat", "cat"), data)

    assert [one.kind for one in findings] == ["alike classes"]


def test_a_long_list_is_cut_in_the_report_and_on_the_terminal(data: DataParams) -> None:
    finding = found(table(2000, problem=dict.fromkeys(range(80), "has 0 bytes")), data)["unusable"]

    assert (finding.count, len(finding.files)) == (80, 50)
    assert in_words(finding).count("\n  - ") == 6
    assert in_words(finding).endswith("\n  - and 75 more")


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a\nb.png", "a\\nb.png"), ("\x1b[31mred.png", "\\x1b[31mred.png"), ("grün 🙂.png", "grün 🙂.png")],
)
def test_names_cannot_write_to_the_terminal(name: str, shown: str) -> None:
    assert printable(name) == shown
