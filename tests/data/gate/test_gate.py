import pytest
from examining import examined, found

from reconv.data.gate import in_words, refuse, unusable
from reconv.errors import DataError
from reconv.params import DataParams

EMPTY = "has 0 bytes"


def empty(count: int) -> dict[str, str]:
    return {f"bad{index}.png": EMPTY for index in range(count)}


def test_good_images_have_no_findings(data: DataParams) -> None:
    assert found(examined(), data) == {}
    assert found(examined(has_splits=True), data) == {}


def test_unusable_files_are_named_and_left_out(data: DataParams) -> None:
    finding = found(examined(problems={"a.png": EMPTY, "b.png": "cannot be decoded (broken)"}), data)["unusable"]

    assert (finding.severity, finding.count) == ("warning", 2)
    assert finding.files == ("a.png has 0 bytes", "b.png cannot be decoded (broken)")
    assert finding.text == "2 of 122 files are no images that can be used: they were left out."
    assert finding.pictures == ()


def test_too_many_unusable_files_stop_it(data: DataParams) -> None:
    files = examined(problems=empty(7)).files

    with pytest.raises(
        DataError, match=r"7 of 127 files .* 5\.5%; data\.max_bad_share allows 5\.0%.*\n.*bad0\.png has"
    ):
        refuse(unusable(files, data))
    refuse(unusable(files, data.model_copy(update={"max_bad_share": 0.06})))


def test_one_unusable_file_stops_who_wants_that(data: DataParams) -> None:
    with pytest.raises(DataError, match=r"1 of 121 files .*: repair .* or set data\.on_bad_image: quarantine"):
        refuse(unusable(examined(problems=empty(1)).files, data.model_copy(update={"on_bad_image": "fail"})))


def test_all_errors_are_told_at_once(data: DataParams) -> None:
    what = examined(has_splits=True, content={4: 110}, **{"class": dict.fromkeys(range(84, 120), "dog")})

    with pytest.raises(DataError, match=r"(?s)the same pixels.*class \"cat\" has no image in validation"):
        found(what, data)


def test_a_long_list_is_cut_in_the_report_and_on_the_terminal(data: DataParams) -> None:
    finding = found(examined(2000, problems=empty(80)), data)["unusable"]

    assert (finding.count, len(finding.files)) == (80, 50)
    assert in_words(finding).count("\n  - ") == 6
    assert in_words(finding).endswith("\n  - and 75 more")
