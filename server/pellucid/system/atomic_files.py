"""Atomic writing of files."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from pellucid.errors import ModelError
from pellucid.system.progress import Progress

_BLOCK = 1 << 20


OTHER_CACHE = "set another cache folder"
OTHER_OUT = "name another folder with --out"
"""Remedies if a folder cannot be written to."""


@contextmanager
def errors_explained(folder: Path, elsewhere: str = OTHER_CACHE) -> Iterator[None]:
    """Turn the system's errors during writing into ModelError.

    ``elsewhere`` is a remedy: a different folder.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        stated = re.search(r"os error (\d+)", str(error))
        number = error.errno if isinstance(error, OSError) else int(stated[1]) if stated else None
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise ModelError(f"The disk of {folder} is full: free some space and try again.") from None
        reason = error if number is None else os.strerror(number)
        raise ModelError(f"{folder} cannot be written to ({reason}): make it writable, or {elsewhere}.") from None


def require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ModelError(
            f"{folder} has {human(free)} free, but {human(needed)} are needed: free some space, or set another cache "
            "folder."
        )


def publish(part: Path, target: Path) -> None:
    """Rename a finished file; even after a power cut, ``target`` is complete or missing."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(target)
    if os.name == "posix":  # On Windows a folder cannot be opened.
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Yield a temporary path, and rename the complete file to the target."""
    part = target.with_name(target.name + ".part")
    try:
        yield part
        publish(part, target)
    except BaseException:
        with suppress(OSError):  # A disk that has become read-only.
            part.unlink(missing_ok=True)
        raise


def write_text(target: Path, text: str) -> None:
    with written_whole(target) as part:
        part.write_text(text, encoding="utf-8")


def write_output(target: Path, text: str) -> None:
    """Write a file that the user names: replace a file atomically, write to a device or pipe."""
    if target.exists() and not target.is_file():
        target.write_text(text, encoding="utf-8")
    else:
        write_text(target.resolve(), text)  # A symbolic link is kept.


def checksum(path: Path, progress: Progress, kind: str = "sha256") -> str:
    """Return the SHA-256 of a file, or with ``kind`` git the SHA-1 in git, in hexadecimal."""
    size = path.stat().st_size
    digest = hashlib.sha256() if kind == "sha256" else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    progress.start(f"verifying {path.stem if path.suffix in ('.part', '.joined') else path.name}", size)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            progress.advance(len(block))
    return digest.hexdigest()


def human(size: float) -> str:
    """Format a number of bytes for people, in decimal units."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
