"""Ignore files, read as git reads them: which of them says that a path is ignored."""

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
"""What changes when a file does: its time and its size."""

MAX_BYTES = 128 * 1024
"""Total bytes of the ignore files that apply to a path. Those of well-known repositories have a few thousand."""

MAX_STEPS = 500_000_000
"""Bound on the work for one path: (characters of the path and of its parent folders) x (bytes of patterns)."""

MAX_POINTER_BYTES = 4096
"""Bytes to read of a file that only names a folder, such as the ``.git`` file of a work tree."""

FOLD_CASE = sys.platform in ("darwin", "win32")
"""Whether patterns ignore case: git sets ``core.ignoreCase`` where the file system does."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line of an ignore file. ``anchored``: it fits whole paths from the file's folder on, rather than names.

    Paths are compared byte for byte, as git does it: each character stands for one byte.
    """

    expression: re.Pattern[str]
    ignores: bool
    anchored: bool
    only_folders: bool

    def fits(self, path: str, *, folder: bool) -> bool:
        """Whether it says something of a path, which is relative to the file's folder."""
        if self.only_folders and not folder:
            return False
        return self.expression.fullmatch(path if self.anchored else path.rpartition("/")[2]) is not None


class Patterns:
    """The lines of an ignore file, or of a setting. The last one that fits decides.

    ``name`` is what the log calls them. Patterns of more than MAX_BYTES ignore everything.
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
        """Whether a path is ignored; None where nothing is said of it."""
        raw = _bytes_of(path)
        return next((pattern.ignores for pattern in self._patterns if pattern.fits(raw, folder=folder)), None)

    def ignores(self, path: str) -> bool:
        """Whether a file, or one of its parent folders, is ignored. A path that would take too long to match is ignored."""
        if _is_too_long(path, self._size):
            log.warning("%s", _too_long(path, self._name))
            return True
        parts = path.split("/")
        return any(self.decision("/".join(parts[:end]), folder=end < len(parts)) for end in range(1, len(parts) + 1))


def ignoring_file(path: Path, top: Path) -> Path | None:
    """The file that says that a path is ignored; only files in folders from ``top`` on count.

    The deepest folder that says anything decides. What lies in an ignored folder is ignored, whatever is said of it.
    The user's own file (``core.excludesFile``) is not read. Files too large to be matched in a moment ignore everything.
    """
    folders = [folder for folder in reversed(path.parents) if folder.is_relative_to(top)]
    stamped = ((folder, file, _stamp(file)) for folder in folders for file in _ignore_files(folder))
    return _ignoring_file(path, top, tuple((folder, file, stamp) for folder, file, stamp in stamped if stamp is not None))


def repository(folder: Path) -> Path | None:
    """The top of the work tree that a folder is in."""
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
    """What a file says, read again when its stamp is another."""
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_BYTES + 1)
    except OSError:
        return Patterns(["*"])  # it may name whatever is asked for
    if len(text) > MAX_BYTES:  # more than its stamp says
        log.warning("%s", _too_large(str(file)))
        return Patterns(["*"])
    return Patterns((line.removesuffix("\r") for line in os.fsdecode(text.removeprefix(b"\xef\xbb\xbf")).split("\n")), str(file))


def _ignore_files(folder: Path) -> Iterator[Path]:
    """Where patterns for a folder and all below it may be; the later ones have the last word."""
    if (git := _git_folder(folder)) is not None:
        yield git / "info" / "exclude"
    yield folder / ".gitignore"
    yield folder / ".pellucidignore"


def _git_folder(folder: Path) -> Path | None:
    """Git's own folder, at the top of a work tree. In a submodule or a further work tree ``.git`` is a file that says where."""
    git = folder / ".git"
    if os.path.isdir(git):  # noqa: PTH112 - Path's raises where it may not look
        return git
    if (pointer := _pointer(git)) is None:
        return None
    git = folder / pointer.removeprefix("gitdir:").strip()
    common = _pointer(git / "commondir")
    return git if common is None else git / common.strip()


def _pointer(file: Path) -> str | None:
    """Return the start of a file that names a folder; None where there is no such file, or a pipe or device in its place."""
    if _stamp(file) is None:
        return None
    try:
        with file.open("rb") as opened:
            return os.fsdecode(opened.read(MAX_POINTER_BYTES)).replace("\0", "")
    except OSError:
        return None


def _stamp(file: Path) -> Stamp | None:
    """The stamp of a file, or None where there is none."""
    try:
        status = file.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size) if S_ISREG(status.st_mode) else None


def _read(line: str, *, fold_case: bool) -> Pattern | None:
    """The pattern of a line, or None where it has none: a comment, nothing, or what git passes over."""
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
    """Return the bytes of a path or pattern, each as one character. A lone surrogate, which no file's name has, is three bytes."""
    try:
        return os.fsencode(text).decode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass").decode("latin-1")


def _is_too_long(path: str, size: int) -> bool:
    """Whether it may take too long to match a path and its parent folders against so many bytes of patterns."""
    return len(path) * (path.count("/") + 1) * size > MAX_STEPS


def _too_large(name: str) -> str:
    return f"{name} has, with the other ignore files of a path, more than {MAX_BYTES:,} bytes, so all it may name is ignored: shorten it."


def _too_long(path: str, name: str) -> str:
    return f"{path[:200]} is too long to be matched against {name}, so it is ignored: shorten one of them."
