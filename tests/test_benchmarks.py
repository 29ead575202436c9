import json
import sys
from collections.abc import Callable

import pytest

from benchmarks.measure import Row, interleaved, ratio, run_command, table


def recorder(name: str, order: list[str]) -> Callable[[], float]:
    def run() -> float:
        order.append(name)
        return float(len(order))

    return run


def test_contenders_take_turns_and_every_other_round_is_reversed() -> None:
    order: list[str] = []

    values = interleaved({name: recorder(name, order) for name in ("a", "b", "c")}, repeats=3)

    assert "".join(order) == "abccbaabc"
    assert values == {"a": [1.0, 6.0, 7.0], "b": [2.0, 5.0, 8.0], "c": [3.0, 4.0, 9.0]}


@pytest.mark.parametrize(("lower_is_better", "expected"), [(True, 3.0), (False, 1 / 3)])
def test_the_ratio_is_the_median_over_pairs(lower_is_better: bool, expected: float) -> None:
    assert ratio([1.0, 2.0, 10.0], [3.0, 2.0, 50.0], lower_is_better=lower_is_better) == pytest.approx(expected)


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


def test_json_lines_are_reports_with_the_time_since_the_start() -> None:
    ran = run_command(python("import time; print('noise'); time.sleep(0.2); print('{\"epoch\": 1}'); print('{broken')"))

    (report,) = ran.reports
    assert report["epoch"] == 1
    assert 0.2 <= report["at"] <= ran.seconds
    assert ran.peak_bytes > 0


def test_a_command_ends_at_the_report_that_was_waited_for() -> None:
    code = "import time\nfor epoch in range(1000): print('{\"epoch\": %d}' % epoch); time.sleep(0.05)"

    ran = run_command(python(code), stop_when=lambda report: report["epoch"] == 2)

    assert [report["epoch"] for report in ran.reports] == [0, 1, 2]


def test_a_command_that_fails_is_an_error_with_what_it_said() -> None:
    with pytest.raises(RuntimeError, match="no such thing"):
        run_command(python("raise SystemExit('no such thing')"))


def test_the_table_has_a_line_per_row() -> None:
    row = Row("speed", "images/s", "reconv", [1000.0, 3000.0, 2000.0], ratio=4.567, bar=">= 4.5 x")
    written = {**vars(row), "median": row.median, "minimum": 1000.0, "maximum": 3000.0}

    text = table([json.loads(json.dumps(written))])

    assert text.splitlines()[-1] == (
        "| speed | reconv | 2,000 images/s | 1,000 images/s | 3,000 images/s | 3 | 4.57 x | >= 4.5 x |  |"
    )
