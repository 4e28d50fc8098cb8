"""Files that hold what a user typed, or where: nobody else on the machine reads them, whatever the umask is."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

OTHERS = 0o077
"""The permissions of everyone but the owner."""


def make_private_folder(path: Path) -> None:
    """Make a folder of ours for its owner alone, also where it exists and is open to others. Raises OSError where it cannot be made."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    _close_to_others(path, 0o700)


def make_private(path: Path) -> None:
    """Make a file for its owner alone; it may exist already."""
    path.touch(mode=0o600)
    _close_to_others(path, 0o600)


def create_private(path: Path) -> BinaryIO:
    """Begin a file anew, for its owner alone: who has the former one open reads nothing of the new one."""
    with suppress(OSError):  # it is not there or, on Windows, in use
        path.unlink()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o600)
    _close_to_others(path, 0o600)
    return os.fdopen(handle, "wb")


def _close_to_others(path: Path, mode: int) -> None:
    if path.stat().st_mode & OTHERS:
        with suppress(PermissionError):  # another user's, whose it is to open or close
            path.chmod(mode)
