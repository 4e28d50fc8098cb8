"""Picks random cursors within lines of standard library code, with a fixed seed."""

from __future__ import annotations

import io
import random
import sysconfig
import tokenize
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

STDLIB = Path(sysconfig.get_path("stdlib"))

NOT_MODULES = {
    *("__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "turtledemo"),
    *("lib2to3", "pydoc_data", "encodings"),
}
"""Folders of tests, data and programs."""

PARTS = ("report", "tune")
"""The two parts of the files, so that thresholds are not chosen and reported on the same files."""

MIN_CHARACTERS = 10
"""Minimum characters of a line, without surrounding space."""


@dataclass(frozen=True)
class Cursor:
    """A cursor after the first half of a line of code.

    The rest of the line, ``truth``, is in neither ``before`` nor ``below``.
    """

    file: str
    line: int
    before: str
    truth: str
    below: str


def draw(part: str, count: int, seed: int) -> list[Cursor]:
    """Return cursors in ``count`` lines, with more cursors in longer files."""
    dice = random.Random(seed)
    files = modules(part)
    sizes = [path.stat().st_size for path in files]
    cursors: dict[tuple[str, int], Cursor] = {}
    while len(cursors) < count:
        (path,) = dice.choices(files, sizes)
        rows = code_rows(path)
        if rows:
            cursor = cursor_in(path, dice.choice(rows))
            cursors.setdefault((cursor.file, cursor.line), cursor)
    return list(cursors.values())


def modules(part: str) -> list[Path]:
    """Return the files of a part, in a fixed order."""
    found = python_files(STDLIB)
    return [
        path for path in found if PARTS[zlib.crc32(path.relative_to(STDLIB).as_posix().encode()) % len(PARTS)] == part
    ]


def python_files(folder: Path) -> list[Path]:
    """Return the modules in a folder, in a fixed order."""
    return [path for path in sorted(folder.rglob("*.py")) if not NOT_MODULES & set(path.relative_to(folder).parts)]


def cursor_in(path: Path, row: int) -> Cursor:
    """Return the cursor in a line, counted from 0."""
    lines = source(path).split("\n")
    line = lines[row].rstrip()
    indent = len(line) - len(line.lstrip())
    at = indent + (len(line) - indent) // 2
    before = "\n".join([*lines[:row], line[:at]])
    below = "".join(f"\n{one}" for one in lines[row + 1 :])
    return Cursor(path.relative_to(STDLIB).as_posix(), row, before, line[at:], below)


@lru_cache(maxsize=64)
def code_rows(path: Path) -> list[int]:
    """Return the rows of long enough code lines, without comments and multi-line strings."""
    text = source(path)
    lines = text.split("\n")
    try:
        rows = set(_code_rows(text))
    except (tokenize.TokenError, SyntaxError):
        # A file for a different Python version, or a template.
        return []
    return sorted(row for row in rows if len(lines[row].strip()) >= MIN_CHARACTERS)


def _code_rows(text: str) -> Iterator[int]:
    inside_strings: set[int] = set()
    rows: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.NAME, tokenize.NUMBER, tokenize.OP):
            rows.add(token.start[0] - 1)
        elif token.type == tokenize.STRING and token.start[0] != token.end[0]:
            inside_strings.update(range(token.start[0] - 1, token.end[0]))
    yield from rows - inside_strings


@lru_cache(maxsize=64)
def source(path: Path) -> str:
    """Return the text with line feeds at line ends; empty if the file is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8").replace("\f", "")
    except UnicodeDecodeError:
        return ""
