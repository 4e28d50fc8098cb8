"""Creates files that reveal what a user typed or where they work: no other user can read them, whatever the umask is."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

OTHERS = 0o077
"""The permissions of all users except the owner."""


def make_private_folder(path: Path) -> None:
    """Create a folder, or restrict an existing one, for its owner alone.

    Raises OSError if it cannot be created.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    _close_to_others(path, 0o700)


def make_private(path: Path) -> None:
    """Create a file, or restrict an existing one, for its owner alone."""
    path.touch(mode=0o600)
    _close_to_others(path, 0o600)


def create_private(path: Path) -> BinaryIO:
    """Replace a file by an empty one for its owner alone.

    Processes that have the old file open cannot read the new one.
    """
    with suppress(OSError):  # it does not exist or, on Windows, is in use
        path.unlink()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o600)
    _close_to_others(path, 0o600)
    return os.fdopen(handle, "wb")


def _close_to_others(path: Path, mode: int) -> None:
    if path.stat().st_mode & OTHERS:
        with suppress(PermissionError):  # it belongs to another user, who decides about its permissions
            path.chmod(mode)
