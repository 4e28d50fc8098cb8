"""Reads ignore files as git does, and finds the one that ignores a path."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG

from pellucid.completion.context.wildmatch import translate

Stamp = tuple[int, int]
"""A file's modification time and size, which change when the file does."""

MAX_BYTES = 128 * 1024
"""The most bytes of all ignore files that apply to a path. Well-known repositories have a few thousand."""

MAX_STEPS = 500_000_000
"""The most work for one path: (characters of the path and of its parent folders) x (bytes of patterns)."""

MAX_POINTER_BYTES = 4096
"""Bytes to read of a file that only names a folder, such as the ``.git`` file of a worktree."""

FOLD_CASE = sys.platform in ("darwin", "win32")
"""True if patterns ignore case: git sets ``core.ignoreCase`` where the file system does."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line of an ignore file. ``anchored``: it matches paths relative to the file's folder rather than names.

    Paths are compared byte by byte, as git does: each character represents one byte.
    """

    expression: re.Pattern[str]
    ignores: bool
    anchored: bool
    only_folders: bool

    def fits(self, path: str, *, folder: bool) -> bool:
        """Return whether the pattern matches a path, which is relative to the file's folder."""
        if self.only_folders and not folder:
            return False
        return self.expression.fullmatch(path if self.anchored else path.rpartition("/")[2]) is not None


class Patterns:
    """The patterns of an ignore file, or of a setting. The last one that matches decides.

    ``name`` is their name in log messages. Patterns of more than MAX_BYTES ignore everything.
    """

    def __init__(self, lines: Iterable[str], name: str = "", *, fold_case: bool = FOLD_CASE) -> None:
        encoded = [_bytes_of(line) for line in lines]
        self._name = name
        self._size = sum(map(len, encoded))
        if self._size > MAX_BYTES:
            log.warning("%s", _too_large(name))
            encoded = ["*"]
        read = [_read(line, fold_case=fold_case) for line in encoded]
        self._patterns = tuple(reversed([pattern for pattern in read if pattern is not None]))

    def decision(self, path: str, *, folder: bool) -> bool | None:
        """Return whether a path is ignored, or None if no pattern matches it."""
        raw = _bytes_of(path)
        return next((pattern.ignores for pattern in self._patterns if pattern.fits(raw, folder=folder)), None)

    def ignores(self, path: str) -> bool:
        """Return whether a file or one of its parent folders is ignored. A path that would take too long to match is ignored."""
        if _is_too_long(path, self._size):
            log.warning("%s", _too_long(path, self._name))
            return True
        parts = path.split("/")
        return any(self.decision("/".join(parts[:end]), folder=end < len(parts)) for end in range(1, len(parts) + 1))


def ignoring_file(path: Path, top: Path) -> Path | None:
    """Return the ignore file that ignores a path, or None. Only files in the folder ``top`` and below it count.

    The deepest folder whose patterns match decides. Everything in an ignored folder is ignored, whatever other patterns match.
    The user's own file (``core.excludesFile``) is not read. Files that are too large to match quickly ignore everything.
    """
    folders = [folder for folder in reversed(path.parents) if folder.is_relative_to(top)]
    stamped = ((folder, file, file_stamp(file)) for folder in folders for file in _ignore_files(folder))
    return _ignoring_file(path, top, tuple((folder, file, stamp) for folder, file, stamp in stamped if stamp is not None))


def repository(folder: Path) -> Path | None:
    """Return the top folder of the worktree that a folder is in, or None."""
    return next((one for one in (folder, *folder.parents) if os.path.exists(one / ".git")), None)  # noqa: PTH110 - Path's can raise


@lru_cache(maxsize=1024)
def _ignoring_file(path: Path, top: Path, files: tuple[tuple[Path, Path, Stamp], ...]) -> Path | None:
    size = sum(stamp[1] for _, _, stamp in files)
    if size > MAX_BYTES or _is_too_long(path.relative_to(top).as_posix(), size):
        _, largest, _ = max(files, key=lambda one: one[2][1])
        log.warning("%s", _too_large(str(largest)) if size > MAX_BYTES else _too_long(str(path), str(largest)))
        return largest
    for part in [*reversed(path.parents), path]:
        if part == top or not part.is_relative_to(top):
            continue
        for folder, file, stamp in reversed(files):
            if part == folder or not part.is_relative_to(folder):
                continue
            decision = _patterns(file, stamp).decision(part.relative_to(folder).as_posix(), folder=part != path)
            if decision:
                return file
            if decision is not None:
                break
    return None


@lru_cache(maxsize=256)
def _patterns(file: Path, stamp: Stamp) -> Patterns:
    """Read the patterns of a file. A changed stamp makes the cache read it again."""
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_BYTES + 1)
    except OSError:
        return Patterns(["*"])  # it may ignore any path
    if len(text) > MAX_BYTES:  # it has grown since its stamp was taken
        log.warning("%s", _too_large(str(file)))
        return Patterns(["*"])
    return Patterns((line.removesuffix("\r") for line in os.fsdecode(text.removeprefix(b"\xef\xbb\xbf")).split("\n")), str(file))


def _ignore_files(folder: Path) -> Iterator[Path]:
    """Yield the files that may hold patterns for a folder and all below it. Later files override earlier ones."""
    if (git := _git_folder(folder)) is not None:
        yield git / "info" / "exclude"
    yield folder / ".gitignore"
    yield folder / ".pellucidignore"


def _git_folder(folder: Path) -> Path | None:
    """Return git's own folder at the top of a worktree, or None. In submodules and linked worktrees, ``.git`` is a file that names it."""
    git = folder / ".git"
    if os.path.isdir(git):  # noqa: PTH112 - Path.is_dir raises if it lacks permission
        return git
    if (pointer := _pointer(git)) is None:
        return None
    git = folder / pointer.removeprefix("gitdir:").strip()
    common = _pointer(git / "commondir")
    return git if common is None else git / common.strip()


def _pointer(file: Path) -> str | None:
    """Return the start of a file that names a folder, or None if there is no such regular file."""
    if file_stamp(file) is None:
        return None
    try:
        with file.open("rb") as opened:
            return os.fsdecode(opened.read(MAX_POINTER_BYTES)).replace("\0", "")
    except OSError:
        return None


def file_stamp(file: Path) -> Stamp | None:
    """Return the stamp of a regular file, or None if there is none."""
    try:
        status = file.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size) if S_ISREG(status.st_mode) else None


def _read(line: str, *, fold_case: bool) -> Pattern | None:
    """Return the pattern of a line, or None for a comment, a blank line, or a pattern that git ignores."""
    bare = line.rstrip(" ")
    if (len(bare) - len(bare.rstrip("\\"))) % 2 and bare != line:  # the first space is escaped
        bare += " "
    if not bare or bare.startswith("#"):
        return None
    glob = bare.removeprefix("!")
    only_folders = glob.endswith("/")
    glob = glob.removesuffix("/")
    expression = translate(glob.removeprefix("/"), fold_case=fold_case)
    return None if expression is None else Pattern(expression, not bare.startswith("!"), "/" in glob, only_folders)


def _bytes_of(text: str) -> str:
    """Return the bytes of a path or pattern, each as one character. A lone surrogate, which no file name has, becomes three bytes."""
    try:
        return os.fsencode(text).decode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass").decode("latin-1")


def _is_too_long(path: str, size: int) -> bool:
    """Return whether it may take too long to match a path and its parent folders against so many bytes of patterns."""
    return len(path) * (path.count("/") + 1) * size > MAX_STEPS


def _too_large(name: str) -> str:
    return (
        f"{name} and the other ignore files of a path have more than {MAX_BYTES:,} bytes, so everything that they "
        "may match is excluded: shorten them."
    )


def _too_long(path: str, name: str) -> str:
    return f"{path[:200]} is too long to match against {name}, so it is excluded: shorten one of them."
