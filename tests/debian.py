"""Programs from Debian's packages, for the tests that need the real thing."""

import os
import shutil
import subprocess

import pytest


def program(name: str, *packages: str) -> str:
    """Its path. CI installs it where it is missing; on a person's machine the test is skipped."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    found = shutil.which(name, path=path)
    if found is None and os.environ.get("CI") == "true" and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
            quietly = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(["apt-get", "--quiet", *command], env=quietly, check=False, capture_output=True, timeout=600)
        found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install {packages[0]}")
    return found
