"""Picks cursors in files at which an editor would request a suggestion, with the text that follows them in the file."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath

from pellucid.completion.shaping.language_syntax import indentation
from pellucid.completion.suggestion import DocumentCursor, normalize_newlines
from pellucid.errors import InvalidRequestError
from pellucid.learn.corpus import Document

TEST_SHARE = 0.4
"""Share of the text in the files to measure on."""

MIN_FILES = 4
"""Fewest files: two to fit on and two to measure on.
Suggestions within one file are not independent.
"""

MIN_LETTERS = 3
"""Fewest letters and digits of a line at which a suggestion is requested."""

LANGUAGES = {
    "c": "c", "cc": "cpp", "cpp": "cpp", "cs": "csharp", "css": "css", "dart": "dart", "ex": "elixir", "go": "go", "h": "c",
    "hpp": "cpp", "hs": "haskell", "html": "html", "java": "java", "jl": "julia", "js": "javascript", "jsx": "javascriptreact",
    "kt": "kotlin", "lua": "lua", "md": "markdown", "mjs": "javascript", "php": "php", "pl": "perl", "py": "python", "pyi": "python",
    "r": "r", "rb": "ruby", "rs": "rust", "scala": "scala", "sh": "shellscript", "sql": "sql", "swift": "swift", "toml": "toml",
    "ts": "typescript", "tsx": "typescriptreact", "vue": "vue", "yaml": "yaml", "yml": "yaml", "zig": "zig",
}  # fmt: skip
"""Language identifiers of editors by file suffix. Only these files are replayed."""

SUFFIXES = tuple(f".{suffix}" for suffix in LANGUAGES)


class CursorKind(StrEnum):
    """The position of a cursor on its line."""

    LINE_START = "line start"
    """After the indentation."""
    WORD_START = "word start"
    """Before a word that is not the line's first."""
    OPERATOR = "after an operator"
    """After a dot, an operator, a comma or an opening bracket."""
    MID_WORD = "mid-word"
    """After the first letters of a word."""
    BRACKETS = "between brackets"
    """After an opening bracket whose closing one the editor has put to the right of the cursor."""


@dataclass(frozen=True, slots=True)
class ReplayCursor:
    """A cursor at character ``at`` of a document.

    The text from there up to ``end`` is not written yet.
    """

    document: str
    kind: CursorKind
    at: int
    end: int

    def place(self, text: str, *, suffix: bool) -> DocumentCursor:
        """Return the cursor as an editor would send it, with the text after it, or at the end of the file."""
        language = LANGUAGES.get(PurePath(self.document).suffix.removeprefix("."), "")
        # An editor has one URI for a document, but these are two states of it, and each has its own
        # windows.
        uri = f"file:///{self.document}{'' if suffix else '#alone'}"
        return DocumentCursor(uri, text[: self.at], text[self.end :] if suffix else "", language, self.document)

    def truth(self, text: str, *, suffix: bool) -> str:
        """Return the missing text: up to ``end``, or the whole rest of the file without a suffix."""
        return text[self.at : self.end if suffix else len(text)]


def divide(documents: Sequence[Document]) -> tuple[list[Document], list[Document]]:
    """Split whole files by the hash of their names: to fit on, and, with ``TEST_SHARE`` of the text, to measure on.

    Raises InvalidRequestError if there are too few files.
    """
    if len(documents) < MIN_FILES:
        files = "is 1 source file" if len(documents) == 1 else f"are {len(documents)} source files"
        raise InvalidRequestError(f"There {files}, but fitting and measuring take {MIN_FILES}: name a larger folder.")
    order = sorted(documents, key=lambda document: hashlib.sha256(document.name.encode()).hexdigest())
    wanted = TEST_SHARE * sum(document.size for document in documents)
    test, fit = order[:2], order[2:4]
    held = sum(document.size for document in test)
    for document in order[4:]:
        if held + document.size / 2 <= wanted:
            test.append(document)
            held += document.size
        else:
            fit.append(document)
    return sorted(fit, key=_name), sorted(test, key=_name)


def draw(documents: Sequence[Document], count: int, seed: int = 0) -> list[ReplayCursor]:
    """Pick at most ``count`` cursors: random lines, with one cursor of each kind that the line has.

    Longer files get more.

    Several cursors share a line because an editor asks repeatedly while a line is typed, and the KV
    cache is reused. The result is sorted by file and position. A larger ``count`` keeps the same
    cursors and adds others, so that replayed ones are reused.
    """
    lines = [
        line for document in documents for line in _lines(Document(document.name, normalize_newlines(document.text)))
    ]
    dice = random.Random(seed)  # noqa: S311 -- not for secrets
    dice.shuffle(lines)
    drawn: list[ReplayCursor] = []
    for line in lines:
        if len(drawn) >= count:
            break
        kinds: dict[CursorKind, list[ReplayCursor]] = {}
        for cursor in line.cursors():
            kinds.setdefault(cursor.kind, []).append(cursor)
        drawn += [dice.choice(kinds[kind]) for kind in CursorKind if kind in kinds]
    return sorted(drawn[:count], key=lambda cursor: (cursor.document, cursor.at, cursor.kind))


def cursors(document: Document) -> Iterator[ReplayCursor]:
    """Yield all cursors of a document."""
    for line in _lines(document):
        yield from line.cursors()


@dataclass(frozen=True, slots=True)
class _Line:
    """The line ``row`` of a document with ``lines``, which begins at character ``start``.

    Its cursors are found when it is drawn.
    """

    document: str
    lines: Sequence[str]
    row: int
    start: int

    def cursors(self) -> Iterator[ReplayCursor]:
        end = self.start + _written_length(self.lines, self.row)
        for kind, column, stop in _columns(self.lines[self.row]):
            yield ReplayCursor(self.document, kind, self.start + column, end if stop is None else self.start + stop)


def _lines(document: Document) -> Iterator[_Line]:
    """Yield the lines with enough letters."""
    lines = document.text.split("\n")
    start = 0
    for row, line in enumerate(lines):
        if _LETTERS.search(line):
            yield _Line(document.name, lines, row, start)
        start += len(line) + 1


_LETTERS = re.compile(rf"(?:[^\W_][\W_]*){{{MIN_LETTERS}}}")
_WORD = re.compile(r"\w+")
_OPERATOR = re.compile(r"[-+*/%&|^=<>!:.,([{]+ ?")
_INNERMOST = re.compile(r"[(\[{]([^()\[\]{}]*)[)\]}]")


def _columns(line: str) -> Iterator[tuple[CursorKind, int, int | None]]:
    """Yield the cursors of a line: kind, column and, if text remains to the right, the column where it begins."""
    indent, last = len(line) - len(line.lstrip()), len(line.rstrip())
    yield CursorKind.LINE_START, indent, None
    for match in _WORD.finditer(line):
        if match.start() > indent:
            yield CursorKind.WORD_START, match.start(), None
        if len(match.group()) >= MIN_LETTERS:
            yield CursorKind.MID_WORD, match.start() + len(match.group()) // 2, None
    for match in _OPERATOR.finditer(line):
        if indent <= match.start() and match.end() < last:
            yield CursorKind.OPERATOR, match.end(), None
    for match in _INNERMOST.finditer(line):
        if match.group(1).strip():
            yield CursorKind.BRACKETS, match.start(1), match.end(1)


def _written_length(lines: Sequence[str], row: int) -> int:
    """Return the characters from the start of a line to the end of the block that it begins or opens.

    When the head of a block or its first line is typed, the rest of the block is not written yet.
    """
    own = indentation(lines[row])
    above = next((lines[at] for at in range(row - 1, -1, -1) if lines[at].strip()), "")
    begins = bool(above) and indentation(above) < own
    last = row
    for below in range(row + 1, len(lines)):
        if lines[below].strip():
            deep = indentation(lines[below])
            if deep < own or (deep == own and not begins):
                break
            last = below
    return sum(len(line) + 1 for line in lines[row : last + 1]) - 1


def _name(document: Document) -> str:
    return document.name
