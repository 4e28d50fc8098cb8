"""Bounded reading of regular files, with a sentence for each refusal.

A device may never end, and a FIFO without a writer would wait forever.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from pellucid.errors import InvalidRequestError, PellucidError

LARGEST_DOCUMENT = 16 << 20
"""Maximum size of a document in bytes; equals the default limit of a server's requests."""

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
_KINDS = {
    stat.S_IFDIR: ("a folder", "name a file"),
    stat.S_IFIFO: ("a pipe", "write its content to a file, and name that"),
    stat.S_IFSOCK: ("a socket", "name a regular file"),
    stat.S_IFCHR: ("a device", "name a regular file"),
    stat.S_IFBLK: ("a device", "name a regular file"),
}


def open_regular(
    path: Path,
    error: type[PellucidError] = InvalidRequestError,
    *,
    instead_of_pipe: str | None = None,
    follow_links: bool = True,
) -> BinaryIO:
    """Open a regular file for reading; ``instead_of_pipe`` is a special remedy for a pipe.

    Raises FileNotFoundError for a missing file, and ``error`` for anything else.
    """
    try:
        _check_kind(
            path, path.stat(follow_symlinks=follow_links), error, instead_of_pipe
        )  # Opening a FIFO would disturb its writer.
        handle = os.open(path, _FLAGS | (0 if follow_links else getattr(os, "O_NOFOLLOW", 0)))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as problem:  # ValueError: a name that contains NUL.
        reason = getattr(problem, "strerror", None) or problem
        raise error(f"{path} cannot be read ({reason}): make it readable, or name another file.") from None
    file = os.fdopen(handle, "rb")
    try:
        _check_kind(path, os.fstat(handle), error, instead_of_pipe)  # The file may have been replaced.
    except PellucidError:
        file.close()
        raise
    return file


def read_bytes(
    path: Path,
    largest: int = LARGEST_DOCUMENT,
    error: type[PellucidError] = InvalidRequestError,
    *,
    instead_of_pipe: str | None = None,
    follow_links: bool = True,
) -> bytes:
    """Read a regular file.

    Raises FileNotFoundError for a missing file, and ``error`` for anything else or a larger file.
    """
    with open_regular(path, error, instead_of_pipe=instead_of_pipe, follow_links=follow_links) as file:
        return read_open(path, file, largest, error)


def read_open(path: Path, file: BinaryIO, largest: int, error: type[PellucidError]) -> bytes:
    size = os.fstat(file.fileno()).st_size
    try:
        content = b"" if size > largest else file.read(largest + 1)  # A growing file ends here, too.
    except OSError as problem:
        raise error(f"{path} cannot be read ({problem.strerror}): name another file.") from None
    if max(size, len(content)) > largest:
        raise error(
            f"{path} has {max(size, len(content)):,} bytes, but at most {largest:,} are read: name a smaller file."
        )
    return content


def read_text(
    path: Path,
    largest: int = LARGEST_DOCUMENT,
    error: type[PellucidError] = InvalidRequestError,
    *,
    instead_of_pipe: str | None = None,
) -> str:
    """Read a regular file as UTF-8 text, with unchanged line ends. Raises like ``read_bytes``."""
    return decoded(read_bytes(path, largest, error, instead_of_pipe=instead_of_pipe), str(path), error)


def decoded(content: bytes, name: str, error: type[PellucidError] = InvalidRequestError) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise error(f"{name} is not UTF-8 text (byte {problem.start}): convert it first.") from None


def _check_kind(path: Path, status: os.stat_result, error: type[PellucidError], instead_of_pipe: str | None) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFREG:
        return
    name, remedy = _KINDS.get(kind, ("neither a file nor a folder", "name a regular file"))
    if kind == stat.S_IFIFO and instead_of_pipe is not None:
        remedy = instead_of_pipe
    raise error(f"{path} is {name}, but only regular files are read: {remedy}.")
