"""Places to cut a suggestion: where a reader would stop, not inside an expression."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain

from pellucid.code.brackets import CLOSING, OPENING
from pellucid.code.language_syntax import LineScan, scan_line
from pellucid.completion.shaping.parsed_cursor import Bracket, ParsedCursor

MIN_SHOWN_CHARACTERS = 2
"""Minimum number of letters, digits or brackets. Less is typed faster than read."""

_CODE_END = re.compile(r"(?<=[^\s,;(\[{])(?=\s*[,;)\]}])|(?<=;)|(?<=[)\]}])(?=\??\.\w|::\w)")
"""The end of an argument, an element, a statement, or a call before a member."""

_TAG_END = re.compile(r"""(?<=>)|(?<=["'])(?=\s|/?>)""")
"""The end of a tag or an attribute."""

_CLAUSE_END = re.compile(r"(?<=[.,;:!?])(?=\s)")
"""The end of a clause in a comment, a multi-line string or prose."""

_ENDS = (_CODE_END, _TAG_END, _CLAUSE_END)

_CODE = re.compile(r"[(){}\[\];=]")
_FOR = re.compile(r"\s*for\b")
_BLOCK_WORD = re.compile(r"\b(?:begin|case|def|do|function|if|then|while)\b")
_GENERIC = re.compile(r"(?<=\w)<(?=[\w&'?(\[])")
_GENERIC_END = re.compile(r"(?<![-=\s])>")
_UNFINISHED = re.compile(r"\blambda\b[^:]*$|\bfor\b(?!.*\bin\b)|(?:[(,=]\s*|^)\|[^|]*$")
"""Code before a comma between names, not arguments: in a lambda, a loop or a closure."""


def part_ends(parsed: ParsedCursor, text: str) -> Iterator[int]:
    """Yield the lengths of the parts of a suggestion worth showing, longest first.

    The whole suggestion is excluded. A part ends with a line or, in the first line, with an
    argument, a call, a statement, a tag or a clause, outside of brackets and strings opened in the
    first line.
    """
    begin = len(text) - len(text.lstrip())
    start, stop = text.rfind("\n", 0, begin) + 1, text.find("\n", begin)
    line_ends = [] if stop < 0 else [at for at in range(len(text) - 1, stop - 1, -1) if text[at] == "\n"]
    line = text[start:] if stop < 0 else text[start:stop]
    shortest = len(text)
    for end in chain(line_ends, (start + end for end in _line_part_ends(parsed, line, is_first=start == 0))):
        length = len(text[:end].rstrip())
        if length < shortest and is_worth_showing(text[:length]):
            shortest = length
            yield length


def is_worth_showing(text: str) -> bool:
    return len(re.sub(r"[\s,;:.]", "", text)) >= MIN_SHOWN_CHARACTERS


def _line_part_ends(parsed: ParsedCursor, line: str, *, is_first: bool) -> Iterator[int]:
    """Yield the places in a line where a reader would stop, last first.

    The first line continues the cursor's line.
    """
    left, inside = (parsed.left, None) if is_first else ("", parsed.inside)
    for end in sorted({match.start() for pattern in _ENDS for match in pattern.finditer(line)} - {0}, reverse=True):
        written = left + line[:end]
        found = parsed.scan_on(written) if is_first else scan_line(written, inside, parsed.syntax)
        in_text = found.quoted or found.inside is not None or found.code < len(written)
        if parsed.syntax.tags and _TAG_END.match(line, end):
            ends = not in_text and _closes_all(parsed, found, len(left)) is not None
        elif parsed.syntax.prose or parsed.syntax.tags or in_text:
            begins_in_text = (
                parsed.syntax.prose or parsed.syntax.tags or (parsed.in_text if is_first else inside is not None)
            )
            ends = begins_in_text and not found.quoted and _ends_clause(parsed, line, end)
        else:
            ends = _CODE_END.match(line, end) is not None and _ends_code(parsed, written, line[end:], found, len(left))
        if ends:
            yield end


def _ends_clause(parsed: ParsedCursor, line: str, end: int) -> bool:
    """Return whether a clause ends outside of brackets. Code and attributes have no clauses."""
    if not _CLAUSE_END.match(line, end) or (parsed.syntax.tags and _CODE.search(line[:end])):
        return False
    return all(
        line.count(opening, 0, end) <= line.count(closing, 0, end)
        for opening, closing in zip(OPENING, CLOSING, strict=True)
    )


def _closes_all(parsed: ParsedCursor, found: LineScan, start: int) -> list[Bracket] | None:
    """Return the brackets before ``start`` left open, or None if a newer bracket is open."""
    outer = list(parsed.brackets)
    own = 0
    for mark in found.marks:
        if mark.at < start:
            continue
        if mark.opens:
            own += 1
        elif own:
            own -= 1
        elif outer:
            outer.pop()
    return None if own else outer


def _ends_code(parsed: ParsedCursor, written: str, rest: str, found: LineScan, start: int) -> bool:
    """Return whether code is complete before ``rest``.

    ``found``: the scan of ``written``, with new text from ``start``.
    """
    outer = _closes_all(parsed, found, start)
    following = rest.lstrip()[:1]
    if outer is None or (following in CLOSING and not outer):
        return False
    if written.endswith(";") or following == ";":
        return not parsed.syntax.words and _FOR.match(written) is None
    if parsed.syntax.words and _BLOCK_WORD.search(written, start):
        return False
    return following != "," or (
        _in_list(parsed, outer, written)
        # The comma ends an argument, not a type or name.
        and len(_GENERIC.findall(written)) <= len(_GENERIC_END.findall(written))
        and not _UNFINISHED.search(written)
    )


def _in_list(parsed: ParsedCursor, outer: Sequence[Bracket], written: str) -> bool:
    """Return whether a comma separates arguments or elements.

    In braces, a comma separates elements only after a key on the same line.
    """
    if not outer:
        return False
    if outer[-1].closing != "}":
        return True
    return outer[-1].line == parsed.number and ":" in written[written.rfind("{") :]
