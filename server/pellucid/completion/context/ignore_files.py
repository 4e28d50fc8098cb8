"""Ignore files as read by git."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG

from pellucid.completion.context.wildmatch import translate
from pellucid.errors import InvalidRequestError
from pellucid.system.regular_files import read_bytes

Stamp = tuple[int, int]
"""A file's modification time and size."""

MAX_BYTES = 128 * 1024
"""Maximum total size of a path's ignore files; well-known repositories have a few thousand bytes.
"""

MAX_STEPS = 500_000_000
"""Maximum work for a path: (characters of the path and its parents) x (bytes of patterns)."""

MAX_POINTER_BYTES = 4096
"""Maximum size of a file that only names a folder, such as a worktree's ``.git`` file."""

FOLD_CASE = sys.platform in ("darwin", "win32")
"""True if patterns ignore case: git sets ``core.ignoreCase`` like the file system."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A line of an ignore file.

    ``anchored``: compared with paths instead of names. Like git, paths are compared byte by byte:
    each character represents one byte.
    """

    expression: re.Pattern[str]
    ignores: bool
    anchored: bool
    only_folders: bool


class Patterns:
    """The patterns of an ignore file or a setting. The last matching pattern decides.

    Patterns of more than MAX_BYTES ignore everything.
    """

    def __init__(self, lines: Iterable[str], name: str = "", *, fold_case: bool = FOLD_CASE) -> None:
        encoded = [_bytes_of(line) for line in lines]
        self._name = name
        self._size = sum(map(len, encoded))
        if self._size > MAX_BYTES:
            log.warning("%s", _too_large(name))
            encoded = ["*"]
        read = [_read(line, fold_case=fold_case) for line in encoded]
        self._of_folders = tuple(reversed([pattern for pattern in read if pattern is not None]))
        self._of_files = tuple(pattern for pattern in self._of_folders if not pattern.only_folders)

    def decision(self, path: str, *, folder: bool) -> bool | None:
        raw = _bytes_of(path)
        name = raw.rpartition("/")[2]
        for pattern in self._of_folders if folder else self._of_files:
            if pattern.expression.fullmatch(raw if pattern.anchored else name):
                return pattern.ignores
        return None

    def ignores(self, path: str) -> bool:
        """Return whether a file or a parent folder is ignored.

        A path that would take too long to match is ignored.
        """
        if _is_too_long(path, self._size):
            log.warning("%s", _too_long(path, self._name))
            return True
        parts = path.split("/")
        return any(self.decision("/".join(parts[:end]), folder=end < len(parts)) for end in range(1, len(parts) + 1))


def ignoring_file(path: Path, top: Path) -> Path | None:
    """Return the ignore file in or below ``top`` that ignores a path, or None.

    The deepest folder with matching patterns decides, and everything in an ignored folder is
    ignored. The user's own file (``core.excludesFile``) is not read. Files too large to match
    quickly ignore everything.
    """
    folders = [folder for folder in reversed(path.parents) if folder.is_relative_to(top)]
    stamped = ((folder, file, file_stamp(file)) for folder in folders for file in _ignore_files(folder))
    return _ignoring_file(
        path, top, tuple((folder, file, stamp) for folder, file, stamp in stamped if stamp is not None)
    )


@dataclass(frozen=True, slots=True)
class FolderRules:
    """The ignore files of an unignored folder, so that a walk reads each file once.

    ``path``: the folder below ``top``, ending with a slash unless empty. ``files``: outer folders
    first, each with the path from the file's folder to this folder.
    """

    top: Path
    path: str = ""
    files: tuple[tuple[str, Path, Stamp, Patterns], ...] = ()

    @classmethod
    def at(cls, folder: Path, top: Path) -> FolderRules:
        """Return the rules of a folder. Only ignore files in or below ``top`` count."""
        rules = cls(top)._with_own_files()
        for name in folder.relative_to(top).parts:
            rules = rules.below(name)
        return rules

    def below(self, name: str) -> FolderRules:
        files = tuple((f"{inner}{name}/", file, stamp, patterns) for inner, file, stamp, patterns in self.files)
        return FolderRules(self.top, f"{self.path}{name}/", files)._with_own_files()

    def ignoring(self, name: str, *, folder: bool) -> Path | None:
        if not self.files:
            return None
        size = sum(stamp[1] for _, _, stamp, _ in self.files)
        if size > MAX_BYTES or _is_too_long(self.path + name, size):
            return _refused(self.path + name, [(file, stamp) for _, file, stamp, _ in self.files])
        for inner, file, _, patterns in reversed(self.files):
            decision = patterns.decision(inner + name, folder=folder)
            if decision is not None:
                return file if decision else None
        return None

    def _with_own_files(self) -> FolderRules:
        stamped = ((file, file_stamp(file)) for file in _ignore_files(self.top / self.path))
        own = tuple(("", file, stamp, _patterns(file, stamp)) for file, stamp in stamped if stamp is not None)
        return replace(self, files=self.files + own) if own else self


def repository(folder: Path) -> Path | None:
    """Return the top folder of the folder's worktree, or None."""
    return next((one for one in (folder, *folder.parents) if os.path.exists(one / ".git")), None)  # noqa: PTH110 - Path's can raise


@lru_cache(maxsize=1024)
def _ignoring_file(path: Path, top: Path, files: tuple[tuple[Path, Path, Stamp], ...]) -> Path | None:
    size = sum(stamp[1] for _, _, stamp in files)
    if size > MAX_BYTES or _is_too_long(path.relative_to(top).as_posix(), size):
        return _refused(str(path), [(file, stamp) for _, file, stamp in files])
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


def _refused(path: str, files: Sequence[tuple[Path, Stamp]]) -> Path:
    """Log a path too costly to match, and return the largest ignore file."""
    largest, _ = max(files, key=lambda one: one[1][1])
    is_large = sum(stamp[1] for _, stamp in files) > MAX_BYTES
    log.warning("%s", _too_large(str(largest)) if is_large else _too_long(path, str(largest)))
    return largest


@lru_cache(maxsize=256)
def _patterns(file: Path, stamp: Stamp) -> Patterns:
    """Read the patterns. A changed stamp makes the cache read the file again."""
    try:
        text = read_bytes(file, MAX_BYTES)
    # The file may have grown, or become a pipe, after the stamp was taken.
    except (OSError, InvalidRequestError) as error:
        log.warning("%s Everything that it may ignore is excluded.", error)
        return Patterns(["*"])
    return Patterns(
        (line.removesuffix("\r") for line in os.fsdecode(text.removeprefix(b"\xef\xbb\xbf")).split("\n")), str(file)
    )


def _ignore_files(folder: Path) -> Iterator[Path]:
    """Yield the possible pattern files of a folder. Later files override earlier files."""
    if (git := _git_folder(folder)) is not None:
        yield git / "info" / "exclude"
    yield folder / ".gitignore"
    yield folder / ".pellucidignore"


def _git_folder(folder: Path) -> Path | None:
    """Return git's own folder at the top of a worktree, or None.

    In submodules and linked worktrees, ``.git`` is a file with the folder's path.
    """
    git = folder / ".git"
    if os.path.isdir(git):  # noqa: PTH112 - Path.is_dir raises if it lacks permission
        return git
    if (pointer := _pointer(git)) is None:
        return None
    git = folder / pointer.removeprefix("gitdir:").strip()
    common = _pointer(git / "commondir")
    return git if common is None else git / common.strip()


def _pointer(file: Path) -> str | None:
    """Return the content of a file that names a folder, or None if it is not a regular file."""
    try:
        return os.fsdecode(read_bytes(file, MAX_POINTER_BYTES)).replace("\0", "")
    except (OSError, InvalidRequestError):
        return None


def file_stamp(file: Path) -> Stamp | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size) if S_ISREG(status.st_mode) else None


def _read(line: str, *, fold_case: bool) -> Pattern | None:
    """Return a line's pattern, or None for a comment, blank line or unusable pattern."""
    bare = line.rstrip(" ")
    if (len(bare) - len(bare.rstrip("\\"))) % 2 and bare != line:  # The first space is escaped
        bare += " "
    if not bare or bare.startswith("#"):
        return None
    glob = bare.removeprefix("!")
    only_folders = glob.endswith("/")
    glob = glob.removesuffix("/")
    expression = translate(glob.removeprefix("/"), fold_case=fold_case)
    return None if expression is None else Pattern(expression, not bare.startswith("!"), "/" in glob, only_folders)


def _bytes_of(text: str) -> str:
    """Return the bytes of a path or pattern, each as one character.

    A lone surrogate, never present in a file name, becomes three bytes.
    """
    try:
        return os.fsencode(text).decode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass").decode("latin-1")


def _is_too_long(path: str, size: int) -> bool:
    return len(path) * (path.count("/") + 1) * size > MAX_STEPS


def _too_large(name: str) -> str:
    return (
        f"{name} and the other ignore files of a path have more than {MAX_BYTES:,} bytes, so everything that they "
        "may match is excluded: shorten them."
    )


def _too_long(path: str, name: str) -> str:
    return f"{path[:200]} is too long to match against {name}, so it is excluded: shorten one of them."
