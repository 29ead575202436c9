"""Runs a stage with the project's own environment where `python` is another one, as in a shell without it.

Imported first by every stage, and by any Python 3: it uses nothing of reconv.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

_OWN = Path(__file__).resolve().parents[1] / ".venv" / "bin" / "python"

if find_spec("reconv") is None:
    if _OWN.exists() and Path(sys.prefix).resolve() != _OWN.parents[1]:
        os.execv(str(_OWN), [str(_OWN), *sys.argv])
    sys.exit(
        f"stopped: {sys.executable} has no reconv. Run `make repro`, or `make setup` and `. .venv/bin/activate` before "
        "`dvc repro`."
    )
