"""What the benchmarks share: interleaved repeats, commands that report as they go, a process tree's memory, tables.

A benchmark is a module with a docstring (what, against whom, why that is fair) and `measure(effort) -> list[Row]`.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
OURS = "reconv"
# As the user has it: what reconv sets for Ray, when a benchmark runs it in this process, is not the peers'.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

Effort = Literal["full", "quick"]
"""quick: the smallest sizes and one repeat, to see that a benchmark runs; its figures mean nothing and are not kept."""


@dataclass(frozen=True)
class Row:
    """A line of the table: one contender's values of one quantity."""

    quantity: str
    unit: str
    contender: str
    values: Sequence[float]
    """One per repeat; none of a contender that could not run, of which `note` says why."""
    ratio: float | None = None
    """How many times better reconv is than this contender: the median over interleaved pairs."""
    bar: str = ""
    """What was asked for, if anything: ">= 4.5 x"."""
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)


def interleaved(contenders: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Run every contender `repeats` times, taking turns, every other round in reverse order: a machine that gets slower
    meanwhile gets slower for all of them."""
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats):
        for name in list(contenders) if turn % 2 == 0 else reversed(list(contenders)):
            values[name].append(contenders[name]())
            print(f"  {name}: {values[name][-1]:,.4g}", file=sys.stderr, flush=True)
    return values


def ratio(ours: Sequence[float], theirs: Sequence[float], *, lower_is_better: bool) -> float:
    """The median over pairs of how many times better ours is."""
    pairs = zip(ours, theirs, strict=True)
    return statistics.median(their / our if lower_is_better else our / their for our, their in pairs)


@dataclass
class Ran:
    """A command that ended."""

    seconds: float
    reports: list[dict[str, Any]] = field(default_factory=list)
    """The JSON objects that it printed, one a line; each has got `at`, seconds since the command started."""


def run_command(
    command: Sequence[str | Path],
    *,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    stop_when: Callable[[dict[str, Any]], bool] = lambda _: False,
    timeout_seconds: float = 3600,
) -> Ran:
    """Run `command` as a user would and time it from its start, imports included.

    `stop_when` ends it at the first report that it is true of.

    Raises:
        RuntimeError: it failed; with the end of what it printed.
    """
    environment = {**_ENVIRONMENT, **(env or {})}
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    ran = Ran(0.0)
    said: list[str] = []
    stopped = False
    timer = threading.Timer(timeout_seconds, lambda: _kill_tree(process.pid))
    timer.start()
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            report = _as_report(line)
            if report is None:
                continue
            report["at"] = time.perf_counter() - began
            ran.reports.append(report)
            if stop_when(report):
                stopped = True
                break
        ran.seconds = time.perf_counter() - began
        if stopped:
            _kill_tree(process.pid)
        process.stdout.read()
        code = process.wait()
        if not stopped:
            ran.seconds = time.perf_counter() - began
    timer.cancel()
    if code and not stopped:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {code}:\n{''.join(said[-30:])}")
    return ran


def _as_report(line: str) -> dict[str, Any] | None:
    if not line.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _kill_tree(pid: int) -> None:
    try:
        parent = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return
    for process in [*parent.children(recursive=True), parent]:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


class PeakMemory:
    """Samples what a process and all below it use: their proportional set size, or what else `bytes_of` says."""

    def __init__(
        self, pid: int | None = None, every_seconds: float = 0.5, bytes_of: Callable[[int], int] | None = None
    ) -> None:
        self.peak_bytes = 0
        self._bytes_of = bytes_of or tree_bytes
        self._pid = pid or os.getpid()
        self._every = every_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, self._bytes_of(self._pid))
            if self._over.wait(self._every):
                return


def tree_bytes(pid: int) -> int:
    """Proportional set size of a process and all below it, in bytes; 0 if it has ended."""
    return sum(_proportional_bytes(process) for process in _tree(pid))


def own_bytes(pid: int) -> int:
    """Anonymous pages of a process and all below it: mapped files are given back when memory is short."""
    return sum(_anonymous_bytes(process.pid) for process in _tree(pid))


def _tree(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _proportional_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


def _anonymous_bytes(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:  # it has ended
        return 0
    line = next((line for line in status.splitlines() if line.startswith("RssAnon:")), "RssAnon: 0 kB")
    return int(line.split()[1]) * 1024


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import torch

    model = next(
        (line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor()
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def save(name: str, title: str, rows: list[Row]) -> None:
    """Write results/NAME.json and the table of all benchmarks, results/README.md."""
    RESULTS.mkdir(exist_ok=True)
    content = {
        "title": title,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "rows": [recorded(row) for row in rows],
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "README.md").write_text(_page(), encoding="utf-8")


def recorded(row: Row) -> dict[str, Any]:
    """As it stands in results/NAME.json."""
    summaries = {"median": statistics.median, "minimum": min, "maximum": max}
    summary = {name: of(row.values) if row.values else None for name, of in summaries.items()}
    return {**asdict(row), "values": list(row.values), **summary}


def _page() -> str:
    parts = [
        "# Measured",
        "Written by `make bench`; one section per benchmark, each says on which machine. Repeats are interleaved: the "
        "contenders take turns within one run, a ratio is the median over those pairs and says how many times better "
        "reconv is. What each measures, and why that is fair, stands at the head of `benchmarks/NAME.py`.",
    ]
    for path in sorted(RESULTS.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        where = content["machine"]
        parts.append(f"## {content['title']}")
        parts.append(
            f"`benchmarks/{path.stem}.py`, {content['date']}, {where['cores']} cores of {where['cpu']}, "
            f"{where['memory_gib']} GiB, {where['gpu'] or 'no GPU'}, torch {where['torch']}"
        )
        parts.append(table(content["rows"]))
    return "\n\n".join(parts) + "\n"


def table(rows: list[dict[str, Any]]) -> str:
    """Rows, each as `recorded`, as a markdown table."""
    lines = [
        "| quantity | contender | median | minimum | maximum | repeats | reconv is better by | asked | |",
        "|---|---|---:|---:|---:|---:|---:|---|---|",
    ]
    for row in rows:
        figures = [_figure(row[name], row["unit"]) for name in ("median", "minimum", "maximum")]
        better = f"{row['ratio']:.2f} x" if row["ratio"] is not None else ""
        cells = [row["quantity"], row["contender"], *figures, str(len(row["values"])), better, row["bar"], row["note"]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit == "%":
        return f"{value:.2f} %"
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}"
