"""Debian's chromium, for the tests that look at pages as a person does."""

import shutil

from debian import program

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def chromium() -> str:
    """Its path."""
    return shutil.which("google-chrome") or program("chromium", "chromium", "fonts-dejavu-core")
