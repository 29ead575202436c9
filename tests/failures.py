"""Failing tests are named as they fail, and none is waited for without end. A pytest plugin, which conftest.py loads.

pytest-timeout ends a test after its limit; where it cannot, since the test hangs in C, the process is ended a minute
later. pytest-xdist hands the files of a process that died to another one, finished tests included, and then waits for
ever for reports of those: here the run ends, and names the test.
"""

import faulthandler
import os
from collections.abc import Iterator
from typing import Any

import pytest

_GRACE_SECONDS = 60
_stderr = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_stderr] = os.dup(2)  # before pytest captures it
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Names(config))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    if limit := _limit_of(item):
        faulthandler.dump_traceback_later(limit + _GRACE_SECONDS, exit=True, file=item.config.stash[_stderr])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _limit_of(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    chosen = marker.args[0] if marker else item.config.getoption("timeout") or item.config.getini("timeout")
    return float(chosen or 0)


class _Names:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            why = str(report.longrepr).strip().splitlines()[-1:]
            terminal.write_line(f"\nFAILED {report.nodeid} ({report.when}) {''.join(why)}")

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport, sched: Any) -> None:
        self._config.hook.pytest_runtest_logreport(report=report)
        pytest.exit(f"the process that ran {crashitem} died", returncode=1)
