import dataclasses
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from reconv.artifacts import Condition, Energy, Manifest, Verdict
from reconv.files import write_arrays, write_csv, write_parquet
from reconv.params import ReportParams
from reconv.places import EXPLAIN, PREPARED, STUDY, evaluate_dir, search_dir, train_dir
from reconv.report.figures import confusion_matrices
from reconv.report.page import Contents, collect, render

MODELS = ("cnn", "feedforward")
LEARNED = ("figure-filters", "figure-edges", "figure-patches", "figure-answers", "figure-mistakes")


class Page(HTMLParser):
    """What a browser makes of the page: its visible text, its tags, what it would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self.resources: list[str] = []
        self.ids: set[str] = set()
        self._hidden = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._hidden = tag in ("script", "style")
        for name, value in attrs:
            if name in ("src", "href", "data", "action", "srcset") and value:
                self.resources.append(value)
            if name == "id" and value:
                self.ids.add(value)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._hidden = False

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text += data


@pytest.fixture
def page(contents: Contents, report_params: ReportParams) -> Page:
    return Page(render(contents, report_params))


def test_it_begins_with_the_verdict(page: Page, verdict: Verdict) -> None:
    assert verdict.text in page.text
    assert page.text.index(verdict.text) < page.text.index("Both models")


def test_the_measures_of_both_models_are_shown(page: Page) -> None:
    shown = ("91.20%", "85.60%", "90.00% to 92.00%", "123,456", "654,321", "24 of 24", "23 of 24", "0123abc")

    assert [value for value in shown if value not in page.text] == []


def test_what_the_numbers_can_tell_is_said(page: Page, verdict: Verdict) -> None:
    text = " ".join(page.text.split())

    assert "with a probability of more than 99.9 %" in text
    assert "2 seeds show with a probability of 80% is 1.2 points" in text
    assert verdict.notes[0] in text


def test_each_class_has_its_difference_and_corrected_p_value(page: Page) -> None:
    rows = ("+8.0", "+5.0 to +11.0", "< 0.001", "0.021", "-1.0", "0.800")

    assert [value for value in rows if value not in page.text] == []


def test_the_audit_and_the_calibration_are_shown(page: Page) -> None:
    shown = ("Was it fair?", "own", "2.00%", "1.23%", "cnn 0.87")

    assert [value for value in shown if value not in " ".join(page.text.split())] == []


def test_what_only_one_was_given_is_marked(contents: Contents, report_params: ReportParams, page: Page) -> None:
    line = Condition(name="pretrained weights", cnn="SHA-256 f37…", feedforward="none", is_own=False, is_unequal=True)
    verdict = contents.verdict.model_copy(update={"audit": (*contents.verdict.audit, line)})

    marked = Page(render(dataclasses.replace(contents, verdict=verdict), report_params))

    row = " ".join(marked.text.split()).partition("pretrained weights")[2]
    assert row.startswith("SHA-256 f37…nonenot the same")
    assert "the verdict counts it in" in marked.text
    assert "not the same" not in page.text


def test_pictures_of_answers_need_none_of_layers(contents: Contents, report_params: ReportParams) -> None:
    """As of a network of torchvision's."""
    explanation = contents.explanation.model_copy(update={"layers": ()})

    page = Page(render(dataclasses.replace(contents, explanation=explanation), report_params))

    assert set(LEARNED) - page.ids == {"figure-patches"}


def test_every_class_is_shown_as_it_is_named(page: Page, described: Manifest) -> None:
    for name in described.class_names:
        assert page.text.count(name) >= 2  # accuracies and counts
    assert "folder:<images>" in page.text


def test_class_names_are_never_markup(contents: Contents, page: Page, report_params: ReportParams) -> None:
    harmless = Page(render(_renamed(contents), report_params))

    assert page.tags == harmless.tags
    assert "<script>x" not in render(contents, report_params)


def _renamed(contents: Contents) -> Contents:
    names = ("one", "two", "plain")
    counts = {split: dict.fromkeys(names, 7) for split in contents.data_report.images_per_class}
    classes = [one.model_copy(update={"name": n}) for one, n in zip(contents.verdict.classes, names, strict=True)]
    return dataclasses.replace(
        contents,
        manifest=contents.manifest.model_copy(update={"class_names": names}),
        data_report=contents.data_report.model_copy(update={"images_per_class": counts}),
        verdict=contents.verdict.model_copy(update={"classes": tuple(classes)}),
        metrics={
            model: of_model.model_copy(update={"accuracy_per_class": dict.fromkeys(names, 0.9)})
            for model, of_model in contents.metrics.items()
        },
    )


def test_it_asks_no_other_place_for_anything(page: Page) -> None:
    assert [resource for resource in page.resources if not resource.startswith(("#", "data:"))] == []
    assert not {"iframe", "object", "embed"} & set(page.tags)


def test_all_figures_are_there(page: Page) -> None:
    names = ("difference", "classes", "calibration", "curves", "trials", "confusion")

    assert {f"figure-{name}" for name in names} <= page.ids


def test_each_finding_stands_with_its_figure(page: Page) -> None:
    for name in ("space", "same_size", "shifts", "size", "data", "corruptions"):
        assert f"Title of {name}" in page.text
        assert f"What {name} <showed>." in page.text
        assert (f"figure-{name}" in page.ids) == (name != "same_size")


def test_without_a_study_there_is_nothing_of_it(contents: Contents, report_params: ReportParams) -> None:
    off = contents.study.model_copy(update={"enabled": False, "findings": ()})

    page = Page(render(dataclasses.replace(contents, study=off, study_tables={}), report_params))

    assert "Why?" not in page.text
    assert "figure-space" not in page.ids


def test_no_value_is_missing_in_the_page(contents: Contents, report_params: ReportParams) -> None:
    visible = Page(render(contents, report_params)).text

    assert [word for word in ("nan", "NaN", "None", "inf") if word in visible.split()] == []


def test_the_bill_has_every_part_and_their_sum(page: Page) -> None:
    rows = (
        "search120≈ 1.20 Wh0.120 EUR",
        "final training168≈ 1.68 Wh0.168 EUR",
        "evaluation6≈ 0.06 Wh0.006 EUR",
        "study300≈ 3.00 Wh0.300 EUR",
        "together594≈ 5.94 Wh0.594 EUR",
    )

    assert [row for row in rows if row not in page.text] == []
    assert "estimate from 36 watts" in page.text


def test_energy_that_was_counted_is_not_marked_as_an_estimate(contents: Contents, report_params: ReportParams) -> None:
    counted = Energy(joules=3600.0, counters=("package-0",))
    verdict = contents.verdict.model_copy(
        update={
            "budgets": {
                name: budget.model_copy(update={"energy": counted}) for name, budget in contents.verdict.budgets.items()
            }
        }
    )
    measured = dataclasses.replace(
        contents,
        verdict=verdict,
        costs={name: cost.model_copy(update={"energy": counted}) for name, cost in contents.costs.items()},
        metrics={name: one.model_copy(update={"evaluation_energy": counted}) for name, one in contents.metrics.items()},
        study=contents.study.model_copy(update={"energy": counted}),
    )

    text = Page(render(measured, report_params)).text

    assert "≈" not in text
    assert "counters (package-0)" in text
    assert "together5947.00 Wh" in text
    assert "energy of it (Wh)0.500.50" in text  # two seeds of each model


def test_what_was_found_in_the_images_is_shown(page: Page) -> None:
    assert "3 files <of 63>." in page.text
    assert "the first 1 of 3 names" in page.text
    assert "figure-look-alikes" in page.ids
    assert "a/\\n<b>.png has 0 bytes" in page.text


def test_what_the_network_learned_is_shown(page: Page, contents: Contents) -> None:
    assert contents.explanation.text in page.text
    assert set(LEARNED) <= page.ids


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_may_be_grey_or_in_colour(contents: Contents, report_params: ReportParams, channels: int) -> None:
    pictures = {
        **contents.pictures,
        "filters": np.ones((3, channels, 3, 3), np.float32),
        "images": np.zeros((4, 8, 8, channels), np.uint8),
        "patches-1": np.zeros((2, 6, 3, 3, channels), np.uint8),
        "answers": np.zeros((6, 8, 8, channels), np.uint8),
        "mistakes": np.zeros((5, 8, 8, channels), np.uint8),
    }

    assert set(LEARNED) <= Page(render(dataclasses.replace(contents, pictures=pictures), report_params)).ids


def test_a_network_without_first_filters_and_mistakes_has_no_pictures(
    contents: Contents, report_params: ReportParams
) -> None:
    nothing = contents.explanation.model_copy(update={"filters": (), "layers": (), "answers": (), "mistakes": ()})

    page = Page(render(dataclasses.replace(contents, explanation=nothing), report_params))

    assert not set(LEARNED) & page.ids


def test_confusion_is_a_share_of_each_actual_class(contents: Contents) -> None:
    figure = confusion_matrices(contents.confusion, contents.manifest.class_names)

    assert len(figure.data) == len(MODELS)
    assert figure.data[0].z.tolist() == [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]]


def test_a_class_without_predictions_is_an_empty_row(contents: Contents) -> None:
    table = {"cnn": contents.confusion["cnn"].iloc[:1]}

    figure = confusion_matrices(table, contents.manifest.class_names)

    assert figure.data[0].z.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    "class_names",
    [("cat", "dog", "fox"), ("0", "1", "2"), ("01", "02", "1.0"), ("NA", "null", "None"), ("True", "False", " a")],
)
def test_tables_of_the_stages_come_back_whatever_the_classes_are_called(
    contents: Contents,
    tables: dict[str, pd.DataFrame],
    class_names: tuple[str, ...],
) -> None:
    logits = {f"logit_{k}": [float(k == label) for label in range(3)] for k in range(3)}
    predictions = pd.DataFrame({"label": [0, 1, 2], **logits})
    contents.study.save(STUDY / "study.json")
    contents.explanation.save(EXPLAIN / "explanation.json")
    write_arrays(EXPLAIN / "pictures.npz", contents.pictures)
    for name, table in contents.study_tables.items():
        write_csv(STUDY / f"{name}.csv", table)
    for model in MODELS:
        contents.metrics[model].save(evaluate_dir(model) / "metrics.json")
        contents.costs[model].save(train_dir(model) / "cost.json")
        write_csv(train_dir(model) / "curves.csv", tables["curves"])
        write_csv(search_dir(model) / "trials.csv", tables["trials"])
        write_parquet(evaluate_dir(model) / "predictions.parquet", predictions)
        write_csv(evaluate_dir(model) / "calibration.csv", tables["calibration"])
    contents.manifest.model_copy(update={"class_names": class_names}).save(PREPARED / "manifest.json")
    contents.data_report.save(PREPARED / "data_report.json")
    write_arrays(PREPARED / "findings.npz", contents.data_pictures)

    collected = collect(contents.verdict, MODELS, "commit")

    pd.testing.assert_frame_equal(collected.curves["cnn"], tables["curves"])
    assert set(collected.study_tables) == {"trainings", "shifts", "corruptions", "sizes"}
    figure = confusion_matrices(collected.confusion, collected.manifest.class_names)
    assert figure.data[0].z.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_labels_that_are_probably_wrong_are_shown_with_their_files(page: Page) -> None:
    assert "2 of 30 labels a probability of at most 5 %; if all labels were right, it would be 1 (0 to 2)" in page.text
    assert "The least probable of these 1,234 come first" in page.text
    assert "figure-suspects" in page.ids
    assert "a/<1>.png is <script>x, rather" in page.text


def test_the_calibration_error_stands_beside_what_chance_shows(page: Page) -> None:
    assert "of a perfectly calibrated model with these confidences" in page.text
    assert "0.45%" in page.text


def test_the_compute_of_both_stands_beside_the_verdict(page: Page) -> None:
    assert "took 2.0 times the device-seconds and 2.5 times the floating-point operations" in page.text
