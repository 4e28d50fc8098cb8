"""Picks cursors at which an editor would request a suggestion."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath

from pellucid.code.language_syntax import indentation
from pellucid.completion.document_cursor import DocumentCursor, normalize_newlines
from pellucid.errors import InvalidRequestError
from pellucid.learn.corpus import Document

TEST_SHARE = 0.4
"""Share of the text for measuring."""

MIN_FILES = 4
"""Two for fitting and two for measuring: suggestions in a file are not independent."""

MIN_LETTERS = 3

LANGUAGES = {
    "c": "c", "cc": "cpp", "cpp": "cpp", "cs": "csharp", "css": "css", "dart": "dart", "ex": "elixir", "go": "go",
    "h": "c", "hpp": "cpp", "hs": "haskell", "html": "html", "java": "java", "jl": "julia", "js": "javascript",
    "jsx": "javascriptreact", "kt": "kotlin", "lua": "lua", "md": "markdown", "mjs": "javascript", "php": "php",
    "pl": "perl", "py": "python", "pyi": "python", "r": "r", "rb": "ruby", "rs": "rust", "scala": "scala",
    "sh": "shellscript", "sql": "sql", "swift": "swift", "toml": "toml", "ts": "typescript",
    "tsx": "typescriptreact", "vue": "vue", "yaml": "yaml", "yml": "yaml", "zig": "zig",
}  # fmt: skip
"""Language identifiers of editors by file suffix. Only these files are replayed."""

SUFFIXES = tuple(f".{suffix}" for suffix in LANGUAGES)


class CursorKind(StrEnum):
    LINE_START = "line start"
    """After the indentation."""
    WORD_START = "word start"
    OPERATOR = "after an operator"
    MID_WORD = "mid-word"
    BRACKETS = "between brackets"
    """Between an opening bracket and a closing bracket inserted by the editor."""


@dataclass(frozen=True, slots=True)
class ReplayCursor:
    """A cursor at character ``at``. The text up to ``end`` is not written yet."""

    document: str
    kind: CursorKind
    at: int
    end: int

    def place(self, text: str, *, suffix: bool) -> DocumentCursor:
        language = LANGUAGES.get(PurePath(self.document).suffix.removeprefix("."), "")
        # Two states of a document need different URIs, for separate context windows.
        uri = f"file:///{self.document}{'' if suffix else '#alone'}"
        return DocumentCursor(uri, text[: self.at], text[self.end :] if suffix else "", language, self.document)

    def truth(self, text: str, *, suffix: bool) -> str:
        return text[self.at : self.end if suffix else len(text)]


def divide(documents: Sequence[Document]) -> tuple[list[Document], list[Document]]:
    """Split files by the hash of the name, for fitting and measuring."""
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
    """Pick at most ``count`` sorted cursors: random lines, with a cursor of each available kind.

    Cursors share a line because an editor repeats requests while a line is typed, reusing the KV
    cache. A larger ``count`` adds cursors, so that replayed cursors are reused.
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
    for line in _lines(document):
        yield from line.cursors()


@dataclass(frozen=True, slots=True)
class _Line:
    document: str
    lines: Sequence[str]
    row: int
    start: int

    def cursors(self) -> Iterator[ReplayCursor]:
        end = self.start + _written_length(self.lines, self.row)
        for kind, column, stop in _columns(self.lines[self.row]):
            yield ReplayCursor(self.document, kind, self.start + column, end if stop is None else self.start + stop)


def _lines(document: Document) -> Iterator[_Line]:
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
    """Yield kind, column and, if text remains to the right, the column of that text."""
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
    """Return the characters from the start of a line to the end of the block.

    While the first lines of a block are typed, the rest does not exist yet.
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
