"""The place of a code block of a chat in a document: the hunks that put the code there.

A chat answers with a whole file, with some functions of a file, or with a few changed lines.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import takewhile
from textwrap import dedent

from pellucid.code.blocks import block_end
from pellucid.code.definition_outline import MODIFIERS
from pellucid.code.language_syntax import margin
from pellucid.code.line_rules import is_telling
from pellucid.completion.edits.by_instruction.edit_query import Hunk
from pellucid.completion.edits.by_instruction.line_changes import line_changes
from pellucid.completion.edits.by_instruction.selected_lines import Indentation, select_lines

SIMILAR = 0.6
"""The least similarity of a changed line to the line in its place, as difflib measures it."""

_KINDS = r"(?:def|class|function\*?|func|fun|fn|interface|struct|enum|trait|impl|type|module|namespace)"
_DEFINITION = re.compile(
    rf"\s*{MODIFIERS}(?:{_KINDS}\s+(?:\([^)]*\)\s*)?(?P<name>[\w$.:]+?)\b|"
    r"(?:const|let|var)\s+(?P<variable>[\w$]+)\s*=\s*(?:async\s*)?(?:\(|function\b|\w+\s*=>))",
    re.VERBOSE,
)
_ABOVE = re.compile(r"\s*(?:@|#|//|/?\*|--)")
"""A decorator or a comment above a definition."""

_IMPORT = re.compile(r"\s*(?:import|from|use|using|require|#include|const\s.*=\s*require)\b")


@dataclass(frozen=True, slots=True)
class _Definition:
    """A definition of a name, from line ``first`` to before ``end``.

    Decorators and comments above begin at line ``start``.
    """

    name: str
    start: int
    first: int
    end: int


def placed_code(document: str, code: str, selected: tuple[int, int] | None = None) -> list[Hunk]:
    """Return the hunks that put code into a document, instead of selected lines if given.

    The document's lines end with line feeds. Without a selection, definitions replace definitions
    of the same name, new definitions follow, and missing imports come after the document's
    imports. Code without known definitions replaces the lines between the first and the last common
    line, and similar lines next to common lines. Return [] without common lines.
    """
    lines, new = document.split("\n"), dedent(code.replace("\r\n", "\n").rstrip()).split("\n")
    if not any(map(str.strip, new)):
        return []
    if selected is not None:
        return _replaced(document, *selected, new)
    return _by_definition(document, lines, new) or _by_lines(document, lines, new)


def _by_definition(document: str, lines: Sequence[str], new: Sequence[str]) -> list[Hunk]:
    """Return [] if the document defines no common name, or a common name twice."""
    known = list(_definitions(lines))
    places = {old.name: old for old in known}
    added = [made for made in _definitions(new) if not margin(new[made.first])]
    shared = [made.name for made in added if made.name in places]
    if not shared or any([old.name for old in known].count(name) > 1 for name in shared):
        return []
    hunks = []
    outer = margin(lines[places[shared[0]].first])
    at = places[shared[0]].start
    covered: set[int] = set()
    for number, made in enumerate(added):
        covered.update(range(made.start, made.end))
        place = places.get(made.name)
        if place is not None:
            first = place.start if made.start < made.first else place.first
            hunks += _replaced(document, first, place.end, new[made.start : made.end])
            at = place.end
            continue
        text = [outer + line if line.strip() else "" for line in new[made.start : made.end]]
        before = added[number - 1].end if number else made.start
        blank = [""] * (made.start - before) if number else []
        after = [""] * (added[1].start - made.end) if not number else []
        hunks.append(Hunk(at, (), (*blank, *text, *after)))
    hunks += _imports(lines, [line for index, line in enumerate(new) if index not in covered])
    return sorted(hunks, key=lambda hunk: hunk.first)


def _imports(lines: Sequence[str], new: Sequence[str]) -> list[Hunk]:
    present = {line.strip() for line in lines}
    missing = tuple(line for line in new if _IMPORT.match(line) and line.strip() not in present)
    known = [index for index, line in enumerate(lines) if _IMPORT.match(line) and not margin(line)]
    return [Hunk(known[-1] + 1 if known else 0, (), missing)] if missing else []


def _by_lines(document: str, lines: Sequence[str], new: Sequence[str]) -> list[Hunk]:
    counts = Counter(map(str.strip, lines))
    places = {line.strip(): at for at, line in enumerate(lines) if is_telling(line) and counts[line.strip()] == 1}
    found = [(at, places[line.strip()]) for at, line in enumerate(new) if line.strip() in places]
    if not found or found[0][1] > found[-1][1]:
        return []
    (above, first), (below, last) = found[0], found[-1]
    first -= _similar(lines[:first][::-1], new[:above][::-1])
    last += _similar(lines[last + 1 :], new[below + 1 :])
    return _replaced(document, first, last + 1, new)


def _similar(lines: Sequence[str], new: Sequence[str]) -> int:
    """Count the lines next to equal lines, up to the last line with a similar new line."""
    counts = [at + 1 for at, line in enumerate(lines[: len(new)]) if get_close_matches(line, new, cutoff=SIMILAR)]
    return max(counts, default=0)


def _replaced(document: str, first: int, end: int, new: Sequence[str]) -> list[Hunk]:
    parts = re.findall(r"[^\n]*\n|[^\n]+", document)
    selected = select_lines("".join(parts[:first]), "".join(parts[first:end]), "".join(parts[end:]))
    indentation = Indentation(selected)
    return line_changes(selected, [indentation.restore(line) for line in new])


def _definitions(lines: Sequence[str]) -> Iterator[_Definition]:
    for first, line in enumerate(lines):
        if found := _DEFINITION.match(line):
            above = takewhile(_ABOVE.match, reversed(lines[:first]))
            yield _Definition(
                found["name"] or found["variable"], first - len(list(above)), first, block_end(lines, first)
            )
