"""Places in files where an editor would ask for a suggestion, and what the files say there next."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath

from pellucid.completion.shaping.language_syntax import indentation
from pellucid.completion.suggestion import Place, unified
from pellucid.errors import InvalidRequestError
from pellucid.learn.corpus import Document

TEST_SHARE = 0.4
"""Part of the text that is in the files on which the figures are measured."""

LEAST_FILES = 4
"""Files below which there are not two to fit on and two to measure on: within one file suggestions are no strangers to each other."""

LEAST_LETTERS = 3
"""Letters and digits of a line at which something can be suggested."""

LANGUAGES = {
    "c": "c", "cc": "cpp", "cpp": "cpp", "cs": "csharp", "css": "css", "dart": "dart", "ex": "elixir", "go": "go", "h": "c",
    "hpp": "cpp", "hs": "haskell", "html": "html", "java": "java", "jl": "julia", "js": "javascript", "jsx": "javascriptreact",
    "kt": "kotlin", "lua": "lua", "md": "markdown", "mjs": "javascript", "php": "php", "pl": "perl", "py": "python", "pyi": "python",
    "r": "r", "rb": "ruby", "rs": "rust", "scala": "scala", "sh": "shellscript", "sql": "sql", "swift": "swift", "toml": "toml",
    "ts": "typescript", "tsx": "typescriptreact", "vue": "vue", "yaml": "yaml", "yml": "yaml", "zig": "zig",
}  # fmt: skip
"""Languages as editors name them, by the suffix of a file: what is replayed of a folder."""

SUFFIXES = tuple(f".{suffix}" for suffix in LANGUAGES)


class CursorKind(StrEnum):
    """Where on its line a cursor stands."""

    LINE_START = "line start"
    """After the indentation."""
    WORD_START = "word start"
    """Before a word that is not the line's first."""
    OPERATOR = "after an operator"
    """Behind a dot, an operator, a comma or an opening bracket."""
    MID_WORD = "mid-word"
    """Behind the first letters of a word."""
    BRACKETS = "between brackets"
    """Behind an opening bracket whose closing one the editor has put to the right of the cursor."""


@dataclass(frozen=True, slots=True)
class ReplayCursor:
    """A cursor at character ``at`` of a document; the text from there up to ``end`` is not written yet."""

    document: str
    kind: CursorKind
    at: int
    end: int

    def place(self, text: str, *, suffix: bool) -> Place:
        """The cursor as an editor would ask there, with the text behind it or at the end of a file that goes no further."""
        language = LANGUAGES.get(PurePath(self.document).suffix.removeprefix("."), "")
        # An editor's document has one address for both, but they are two states of it whose windows are to be found again.
        uri = f"file:///{self.document}{'' if suffix else '#alone'}"
        return Place(uri, text[: self.at], text[self.end :] if suffix else "", language, self.document)

    def truth(self, text: str, *, suffix: bool) -> str:
        """What the file says at the cursor: what is not there yet, without a text behind it all the rest of the file."""
        return text[self.at : self.end if suffix else len(text)]


def divide(documents: Sequence[Document]) -> tuple[list[Document], list[Document]]:
    """Whole files to fit on, and whole files that hold ``TEST_SHARE`` of the text to measure on, by the hash of their names.

    Raises InvalidRequestError where there are too few of them.
    """
    if len(documents) < LEAST_FILES:
        files = "is 1 source file" if len(documents) == 1 else f"are {len(documents)} source files"
        raise InvalidRequestError(f"There {files}, and to fit on some and to measure on others takes {LEAST_FILES}: name a larger folder.")
    order = sorted(documents, key=lambda document: hashlib.sha256(document.name.encode()).hexdigest())
    wanted = TEST_SHARE * sum(document.size for document in documents)
    test, fit = order[:2], order[2:4]
    for document in order[4:]:
        held = sum(one.size for one in test)
        (test if held + document.size / 2 <= wanted else fit).append(document)
    return sorted(fit, key=_name), sorted(test, key=_name)


def draw(documents: Sequence[Document], count: int, seed: int = 0) -> list[ReplayCursor]:
    """At most so many cursors: on some lines, one of each kind that the line has; long files have more of them, as they have more lines.

    Whoever writes a line is asked several times on it, and what the model has read then serves again; so it is here. They are in the
    order of the files and of the places in them. Who asks for more gets the same ones and others: what was replayed is not lost.
    """
    lines = [line for document in documents for line in _lines(Document(document.name, unified(document.text)))]
    dice = random.Random(seed)  # noqa: S311 -- not for secrets
    dice.shuffle(lines)
    drawn: list[ReplayCursor] = []
    for line in lines:
        if len(drawn) >= count:
            break
        kinds: dict[CursorKind, list[ReplayCursor]] = {}
        for cursor in line:
            kinds.setdefault(cursor.kind, []).append(cursor)
        drawn += [dice.choice(kinds[kind]) for kind in CursorKind if kind in kinds]
    return sorted(drawn[:count], key=lambda cursor: (cursor.document, cursor.at, cursor.kind))


def cursors(document: Document) -> Iterator[ReplayCursor]:
    """All places of a document."""
    for line in _lines(document):
        yield from line


def _lines(document: Document) -> Iterator[list[ReplayCursor]]:
    """The places of each line at which something can be suggested."""
    lines = document.text.split("\n")
    start = 0
    for row, line in enumerate(lines):
        if sum(map(str.isalnum, line)) >= LEAST_LETTERS:
            end = start + _written_length(lines, row)
            yield [
                ReplayCursor(document.name, kind, start + column, end if stop is None else start + stop)
                for kind, column, stop in _columns(line)
            ]
        start += len(line) + 1


_WORD = re.compile(r"\w+")
_OPERATOR = re.compile(r"[-+*/%&|^=<>!:.,([{]+ ?")
_INNERMOST = re.compile(r"[(\[{]([^()\[\]{}]*)[)\]}]")


def _columns(line: str) -> Iterator[tuple[CursorKind, int, int | None]]:
    """The places of a line: their columns and, where text of it stays to the right, where that begins."""
    indent, last = len(line) - len(line.lstrip()), len(line.rstrip())
    yield CursorKind.LINE_START, indent, None
    for match in _WORD.finditer(line):
        if match.start() > indent:
            yield CursorKind.WORD_START, match.start(), None
        if len(match.group()) >= LEAST_LETTERS:
            yield CursorKind.MID_WORD, match.start() + len(match.group()) // 2, None
    for match in _OPERATOR.finditer(line):
        if indent <= match.start() and match.end() < last:
            yield CursorKind.OPERATOR, match.end(), None
    for match in _INNERMOST.finditer(line):
        if match.group(1).strip():
            yield CursorKind.BRACKETS, match.start(1), match.end(1)


def _written_length(lines: Sequence[str], row: int) -> int:
    """Characters from the start of a line to the end of what is written with it: the line, and the block that it begins or opens.

    Whoever writes the head of a block, or its first line, has not written the rest of it yet.
    """
    own = indentation(lines[row])
    above = next((line for line in reversed(lines[:row]) if line.strip()), "")
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
