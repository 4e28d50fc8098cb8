"""A real disk of a few megabytes for tests with a full or read-only disk.

Needs Linux, programs for mounting, and the permission to mount.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILLER = "filler"
BLOCK = 1 << 16


class SmallDisk:
    """A tmpfs at ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, room: int = 0) -> None:
        """Fill all free pages, except room for so many bytes."""
        with (self.folder / FILLER).open("wb", buffering=0) as file:
            for size in (BLOCK, 1):
                try:
                    while file.write(b"x" * size):
                        pass
                except OSError:
                    continue
            file.truncate(max(0, file.tell() - room))

    def make_read_only(self) -> None:
        """Refuse writes, even by root."""
        self._mount("remount,ro")

    def repair(self) -> None:
        """Accept writes again, with room."""
        self._mount("remount,rw")
        (self.folder / FILLER).unlink(missing_ok=True)

    def _mount(self, options: str) -> None:
        subprocess.run(["mount", "-o", options, str(self.folder)], check=True, capture_output=True, text=True)


def can_mount() -> bool:
    """Return whether this process may mount a disk, and has the necessary programs."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or not all(map(shutil.which, ("mount", "umount", "unshare"))):
        return False
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


@contextmanager
def small_disk(folder: Path, size: str = "6m") -> Iterator[SmallDisk]:
    """Mount a disk at a new folder, and unmount the disk in the end."""
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True, capture_output=True, text=True
    )
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True, text=True)
