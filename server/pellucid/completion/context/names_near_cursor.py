"""The names near a cursor whose definitions help to complete the line, the most useful first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pellucid.code.blocks import headers_around
from pellucid.code.language_syntax import Syntax, find_syntax, with_masked_text
from pellucid.completion.document_cursor import DocumentCursor

MAX_NAMES = 32

LINES_ABOVE, LINES_BELOW = 12, 6

SEARCHED_ABOVE = 300
"""Maximum number of lines searched for the blocks around the cursor.

Their comments and strings are found from the first of these lines on.
"""

IMPORT_LINES = 80

_NO_LINE_END = re.compile(r"[^\n]")

_NAME = re.compile(r"[^\W\d][\w$]+")
_IMPORT = re.compile(r"\s*(?:import|from|use|using|require|package|export\b.*\bfrom)\b|\s*const\b.*\brequire\(")
_MODULE = re.compile(r"^\s*from[ \t]+[\w.]+(?=[ \t]+import\b)", re.MULTILINE)
"""The module in Python's imports: the names after it are defined there."""

_KNOWN = (
    "and any as async await bool boolean break bytes case catch class cls const continue def default del "
    "delete dict do elif else enum except export extends false False finally float fn for from func function "
    "global if impl implements import in instanceof int interface is isinstance lambda len let list match mod "
    "mut never new nil None not null number object of or package pass print private protected pub public "
    "raise range readonly return self set static str string struct super switch this throw throws trait true "
    "True try tuple type typeof undefined unknown use var void where while with yield "
)
_WORDS = frozenset(_KNOWN.split())
"""Keywords of the usual languages, and names of their own types: every model knows these."""


@dataclass(frozen=True, slots=True)
class NamePlace:
    """A name in a document. ``line`` and ``column`` count characters from 0."""

    name: str
    line: int
    column: int


def names_near(cursor: DocumentCursor) -> list[NamePlace]:
    """Return one place of each name.

    The order: the cursor's line, from the cursor to the left; imported names that are not used yet,
    as a user imports a name to use it soon; the lines above, the headers of the blocks around the
    cursor, and the lines below; the other imported names.
    """
    above, (right, *below) = cursor.before.split("\n"), cursor.after.split("\n")
    here = len(above) - 1
    lines = [*above[:-1], above[-1] + right, *below]
    syntax = find_syntax(cursor.language)
    top = _code(lines, 0, min(IMPORT_LINES, len(lines)), syntax)
    first, end = max(here - SEARCHED_ABOVE, 0), min(here + 1 + LINES_BELOW, len(lines))
    near = _code(lines, first, end, syntax)
    numbers = [
        *range(here - 1, max(here - LINES_ABOVE, 0) - 1, -1),
        *(first + number for number in headers_around(lines[first:end], list(near.values()), here - first)),
        *range(here + 1, min(here + 1 + LINES_BELOW, len(lines))),
    ]
    on_line = _names(near, [here])
    left = [place for place in on_line if place.column < len(above[-1])]
    imports = tuple(_imports(top))
    imported = _names(top, imports)
    text = "\n".join(line for number, line in enumerate(lines) if number not in imports)
    unused = [place for place in imported if place.name not in text]
    places = [*reversed(left), *on_line, *unused, *_names(near, numbers), *imported]
    found: dict[str, NamePlace] = {}
    for place in places:
        found.setdefault(place.name, place)
    return list(found.values())[:MAX_NAMES]


def _code(lines: Sequence[str], first: int, end: int, syntax: Syntax) -> dict[int, str]:
    """Return some lines by number, with spaces for comments, strings and imports' modules."""
    text = "\n".join(lines[first:end])
    code = with_masked_text(text, syntax, lambda begin, stop: _NO_LINE_END.sub(" ", text[begin:stop]))
    code = _MODULE.sub(lambda found: _NO_LINE_END.sub(" ", found[0]), code)
    return dict(enumerate(code.split("\n"), first))


def _names(code: dict[int, str], numbers: Iterable[int]) -> list[NamePlace]:
    return [
        NamePlace(match[0], number, match.start())
        for number in numbers
        for match in _NAME.finditer(code.get(number, ""))
        if match[0] not in _WORDS
    ]


def _imports(code: dict[int, str]) -> Iterator[int]:
    """Yield the lines of imports, with the lines of a bracket that an import leaves open."""
    closing = ""
    for number, line in code.items():
        if closing:
            yield number
            closing = "" if closing in line else closing
        elif _IMPORT.match(line):
            yield number
            closing = next((end for begin, end in ("()", "{}") if line.count(begin) > line.count(end)), "")
