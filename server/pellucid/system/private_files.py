"""Files that only the user can read, for every umask."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

OTHERS = 0o077


def make_private_folder(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    _close_to_others(path, 0o700)


def make_private(path: Path) -> None:
    path.touch(mode=0o600)
    _close_to_others(path, 0o600)


def create_private(path: Path) -> BinaryIO:
    """Replace a file by an empty private file, unreadable for processes with the old file open."""
    with suppress(OSError):  # The file does not exist or, on Windows, is in use.
        path.unlink()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o600)
    _close_to_others(path, 0o600)
    return os.fdopen(handle, "wb")


def _close_to_others(path: Path, mode: int) -> None:
    if path.stat().st_mode & OTHERS:
        with suppress(PermissionError):  # The owner decides about the permissions.
            path.chmod(mode)
