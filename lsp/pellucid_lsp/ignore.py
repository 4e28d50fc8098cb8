"""Ignore files, read as git reads them: which of them says that a path is ignored."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG

Stamp = tuple[int, int]
"""What changes when a file does: its time and its size."""

_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r" \t-\r",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}
_TOKEN = re.compile(
    r"""(?P<folders>(?:(?<=/)|^)\*{2,}/)       # any number of folders
    |(?P<all>(?:(?<=/)|^)\*{2,}$)              # all that is below
    |(?P<stars>\*+)
    |(?P<one>\?)
    |\[(?P<negated>[!^]?)(?P<set>\]?(?:\\.|\[:\w+:\]|[^\]\\])*)\]
    |\\(?P<escaped>.)
    |(?P<literal>[^\[\\])""",
    re.VERBOSE | re.DOTALL,
)
_MEMBER = re.compile(r"\[:(?P<name>\w+):\]|\\?(?P<first>.)(?:-\\?(?P<last>.))?", re.DOTALL)


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
    """The lines of an ignore file, or of a setting. The last one that fits decides."""

    def __init__(self, lines: Iterable[str]) -> None:
        read = [_read(os.fsencode(line).decode("latin-1")) for line in lines]
        self._patterns = tuple(reversed([pattern for pattern in read if pattern is not None]))

    def decision(self, path: str, *, folder: bool) -> bool | None:
        """Whether a path is ignored; None where nothing is said of it."""
        raw = os.fsencode(path).decode("latin-1")
        return next((pattern.ignores for pattern in self._patterns if pattern.fits(raw, folder=folder)), None)

    def ignores(self, path: str) -> bool:
        """Whether a file is ignored, by itself or because one of the folders that it is in is."""
        parts = path.split("/")
        return any(self.decision("/".join(parts[:end]), folder=end < len(parts)) for end in range(1, len(parts) + 1))


def ignoring_file(path: Path, top: Path) -> Path | None:
    """The file that says that a path is ignored; only files in folders from ``top`` on count.

    The deepest folder that says anything decides. What lies in an ignored folder is ignored, whatever is said of it.
    The user's own file (``core.excludesFile``) is not read.
    """
    folders = [folder for folder in reversed(path.parents) if folder.is_relative_to(top)]
    stamped = ((folder, file, _stamp(file)) for folder in folders for file in _ignore_files(folder))
    return _ignoring_file(path, top, tuple((folder, file, stamp) for folder, file, stamp in stamped if stamp is not None))


def repository(folder: Path) -> Path | None:
    """The top of the work tree that a folder is in."""
    return next((one for one in (folder, *folder.parents) if os.path.exists(one / ".git")), None)  # noqa: PTH110 - Path's can raise


@lru_cache(maxsize=1024)
def _ignoring_file(path: Path, top: Path, files: tuple[tuple[Path, Path, Stamp], ...]) -> Path | None:
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
        text = os.fsdecode(file.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except OSError:
        return Patterns(["*"])  # it may name whatever is asked for
    return Patterns(line.removesuffix("\r") for line in text.split("\n"))


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
    try:
        git = folder / git.read_text().removeprefix("gitdir:").strip()
        return git / (git / "commondir").read_text().strip() if (git / "commondir").exists() else git
    except OSError:
        return None


def _stamp(file: Path) -> Stamp | None:
    """The stamp of a file, or None where there is none."""
    try:
        status = file.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size) if S_ISREG(status.st_mode) else None


def _read(line: str) -> Pattern | None:
    """The pattern of a line, or None where it has none: a comment, nothing, or what git passes over."""
    bare = line.rstrip(" ")
    if (len(bare) - len(bare.rstrip("\\"))) % 2 and bare != line:  # the first space is escaped
        bare += " "
    if not bare or bare.startswith("#"):
        return None
    glob = bare.removeprefix("!")
    only_folders = glob.endswith("/")
    glob = glob.removesuffix("/")
    expression = _translated(glob.removeprefix("/"))
    return None if expression is None else Pattern(expression, not bare.startswith("!"), "/" in glob, only_folders)


def _translated(glob: str) -> re.Pattern[str] | None:
    """The regular expression of a glob, or None where it is none: a class or an escape without an end."""
    literal = re.match(r"[^*?\[\\]*", glob)
    assert literal is not None
    expression, glob, at = re.escape(literal.group()), glob[literal.end() :], 0  # git does it too: what ** means then depends on it
    while at < len(glob):
        if (token := _TOKEN.match(glob, at)) is None:
            return None
        expression += _expression(token)
        at = token.end()
    return re.compile(expression, re.DOTALL)


def _expression(token: re.Match[str]) -> str:
    match token.lastgroup:
        case "folders":
            return "(?:.*/)?"
        case "all":
            return ".*"
        case "stars":
            return "[^/]*"
        case "one":
            return "[^/]"
        case "set":
            members = "".join(map(_member, _MEMBER.finditer(token["set"])))
            if token["negated"]:
                return f"[^/{members}]"
            return f"(?!/)[{members}]" if members else "(?!)"
        case _:
            return re.escape(token["escaped"] or token["literal"])


def _member(member: re.Match[str]) -> str:
    """A member of a class as regular expressions write it. As in git a backward range is its first character, an unknown name nothing."""
    if member["name"]:
        return _CLASSES.get(member["name"], "")
    first, last = member["first"], member["last"] or member["first"]
    return f"\\x{ord(first):02x}-\\x{max(ord(first), ord(last)):02x}"
