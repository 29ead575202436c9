"""What is done, overwritten on a terminal, now and then a line elsewhere."""

import sys
import time

from reconv.cli.conduct import echo

_CLEAR_LINE = "\r\033[K"
_TERMINAL_SECONDS, _PLAIN_SECONDS = 0.2, 30


class StatusLine:
    def __init__(self, what: str, quiet: bool) -> None:
        self._what = what
        self._quiet = quiet
        self._is_terminal = sys.stdout.isatty()
        self._shown = time.monotonic()

    def show(self, done: int, total: int, per_second: float = 0.0) -> None:
        """`per_second` of them, if it is known."""
        now = time.monotonic()
        if self._quiet or now - self._shown < (_TERMINAL_SECONDS if self._is_terminal else _PLAIN_SECONDS):
            return
        self._shown = now
        left = int((total - done) / per_second) if per_second else 0
        rest = f" · {per_second:,.0f} a second · {left // 60}:{left % 60:02d} left" if per_second else ""
        text = f"{done:,} of {total:,} {self._what}{rest}"
        echo(text, before=_CLEAR_LINE if self._is_terminal else "", nl=not self._is_terminal)

    def clear(self) -> None:
        if self._is_terminal and not self._quiet:
            echo(before=_CLEAR_LINE, nl=False)
