import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks import image_peers
from benchmarks.measure import PeakMemory, Row, interleaved, ratio, recorded, run_command, table
from benchmarks.peers.image_loading import report_epochs
from benchmarks.photographs import generate
from reconv.artifacts import Manifest


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


def test_the_peak_of_memory_holds_what_is_freed_again() -> None:
    with PeakMemory(every_seconds=0.01) as memory:
        large = bytearray(b"x") * 100_000_000
        time.sleep(0.2)
        del large

    assert memory.peak_bytes > 100_000_000


def test_a_command_ends_at_the_report_that_was_waited_for() -> None:
    code = "import time\nfor epoch in range(1000): print('{\"epoch\": %d}' % epoch); time.sleep(0.05)"

    ran = run_command(python(code), stop_when=lambda report: report["epoch"] == 2)

    assert [report["epoch"] for report in ran.reports] == [0, 1, 2]


def test_a_command_that_fails_is_an_error_with_what_it_said() -> None:
    with pytest.raises(RuntimeError, match="no such thing"):
        run_command(python("raise SystemExit('no such thing')"))


def test_the_table_has_a_line_per_row() -> None:
    row = Row("speed", "images/s", "reconv", [1000.0, 3000.0, 2000.0], ratio=4.567, bar=">= 4.5 x")

    text = table([json.loads(json.dumps(recorded(row)))])

    assert text.splitlines()[-1] == (
        "| speed | reconv | 2,000 images/s | 1,000 images/s | 3,000 images/s | 3 | 4.57 x | >= 4.5 x |  |"
    )


def test_a_contender_that_could_not_run_is_a_line_without_figures() -> None:
    text = table([recorded(Row("speed", "images/s", "peer", [], note="not installed"))])

    assert text.splitlines()[-1] == "| speed | peer |  |  |  | 0 |  |  | not installed |"


def test_peers_whose_packages_cannot_be_installed_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(image_peers, "_PACKAGES", tmp_path / "packages")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))  # no uv beside it
    image_peers.are_installed.cache_clear()

    assert not image_peers.are_installed()
    assert "could not be installed" in capfd.readouterr().err
    image_peers.are_installed.cache_clear()


@pytest.mark.parametrize("script", ["pipeline/prepare.py", "benchmarks/peers/reconv_prepare.py"])
def test_a_decoding_process_that_reads_the_script_imports_nothing_for_it(script: str) -> None:
    folder = str(Path(script).parent)  # on the path, as of the process that starts it
    read = f"import json, runpy, sys; sys.path[0] = {folder!r}; runpy.run_path({script!r}, run_name='__mp_main__')"

    ran = run_command(python(f"{read}; print(json.dumps({{'packages': list(sys.modules)}}))"))

    imported = {name.split(".")[0] for name in ran.reports[0]["packages"]}
    assert "runpy" in imported
    assert not imported & {"reconv", "benchmarks", "numpy", "torch", "PIL", "pandas"}


def test_images_of_an_epoch_are_counted_whatever_its_batches_hold(capsys: pytest.CaptureFixture[str]) -> None:
    def batches(epoch: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(torch.zeros(count, 8, 8, 3), torch.zeros(count)) for count in (5, 5, 1 + epoch)]

    report_epochs(batches, epochs=2)

    reports = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line]
    assert [report["images"] for report in reports] == [11, 12]
    assert all(report["shape"] == [8, 8, 3] and report["images_per_second"] > 0 for report in reports)


@pytest.mark.slow
def test_ours_prepares_and_loads_what_a_folder_holds(tmp_path: Path) -> None:
    for index in range(40):
        generate(tmp_path / "images", index)

    first, again = (
        image_peers.run_peer(["reconv_batches"], tmp_path / "images", tmp_path / "work", epochs) for epochs in (1, 2)
    )

    counts = Manifest.load(tmp_path / "work" / "output" / "prepared" / "manifest.json").counts
    assert [report["images"] for report in first.reports + again.reports] == 3 * [counts["train"]]
    assert (first.reports[0]["shape"], first.reports[0]["dtype"]) == ([64, 64, 3], "torch.uint8")


def test_a_peer_that_did_not_run_says_so_and_one_that_did_is_compared() -> None:
    values = {"reconv": [30.0, 40.0], "one": [10.0, 20.0]}

    one, other = (image_peers.against("speed", name, values) for name in ("one", "other"))

    assert (one.ratio, one.values) == (2.5, [10.0, 20.0])
    assert (other.ratio, other.values, other.note) == (None, [], "not installed")
