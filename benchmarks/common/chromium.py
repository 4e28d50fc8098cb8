"""The installed Chromium of the benchmarks."""

from __future__ import annotations

import shutil

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser")


def chromium_path() -> str:
    """Return the program's path, as in the tests; end the script if Chromium is not installed."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    raise SystemExit("This needs Chromium: install Debian's package chromium-headless-shell.")
