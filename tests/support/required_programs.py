"""Skips tests with required programs that are not installed, or too old."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

LEAST = {"emacs": (29, 1), "hx": (23, 5), "node": (20, 0), "nvim": (0, 10), "vim": (9, 1)}
"""Minimum versions: Emacs with eglot, Helix with ``[language-server]``, Node with
``stream/consumers`` and import of JSON, the plugin's Neovim, and Vim with
the texts of text properties."""


def require_program(*names: str) -> str:
    """Return the path of the first installed program, or skip the test.

    A program below the minimum version also skips the test.
    """
    for name in names:
        if path := shutil.which(name):
            require_version(name, path)
            return path
    pytest.skip(f"{' or '.join(names)} is not installed")


def require_version(name: str, path: str) -> None:
    """Skip the test if a program is older than the minimum version."""
    if name not in LEAST:
        return
    printed = subprocess.run([path, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    found = re.search(r"(\d+)\.(\d+)[\d.]*", printed)
    assert found is not None, printed
    if (int(found[1]), int(found[2])) < LEAST[name]:
        pytest.skip(f"{name} {found[0]} is too old: the tests need {'.'.join(map(str, LEAST[name]))}")
