"""Search for an accepted suggestion in a changed document."""

from __future__ import annotations

import re

from pellucid.completion.suggestion import Suggestion

CONTEXT_CHARACTERS = 40
"""Characters before a suggestion that distinguish it from the same text elsewhere."""

MIN_TAIL_CHARACTERS = 12
"""Minimum length of equal text before a suggestion, without white space.

This text identifies a suggestion even if its line begins differently.
"""

DISTINCTIVE_CHARACTERS, DISTINCTIVE_WORDS = 20, 3
"""Minimum size of a text identified without context, if the document has the text once."""

_WORD = re.compile(r"\w+")


def locate(text: str, suggestion: Suggestion) -> int | None:
    r"""Return the offset of a suggestion in a text with ``\n`` line ends, or None.

    The text before must be the same: the beginning of the line, except for the indentation, or
    enough characters. Matches with equal text before win, then matches nearest to the inserted
    line. A unique distinctive text is also found after different text.
    """
    cursor, wanted = suggestion.cursor, suggestion.text
    here, tail = cursor.before[-CONTEXT_CHARACTERS:], _tail(cursor.before)
    lines = _after_line_start(text, cursor.before, wanted) | (_occurrences(text, tail, wanted) if tail else {})
    is_distinctive = len(wanted) >= DISTINCTIVE_CHARACTERS and len(_WORD.findall(wanted)) >= DISTINCTIVE_WORDS
    if not lines and is_distinctive and text.count(wanted) == 1:
        return text.index(wanted)
    return min(
        lines, key=lambda at: (not text.endswith(here, 0, at), abs(lines[at] - cursor.position[0])), default=None
    )


def token_at(suggestion: Suggestion, offset: int) -> int | None:
    """Return the index of the token at an offset from the suggestion's start, or None."""
    end = 0
    for index, token in enumerate(suggestion.tokens):
        end += len(token.text)
        if offset < end:
            return index if offset >= 0 else None
    return None


def _occurrences(text: str, before: str, wanted: str) -> dict[int, int]:
    """Return {offset: line} of each occurrence of ``wanted`` after ``before``.

    Lines count from 0.
    """
    lines: dict[int, int] = {}
    line = counted = 0
    found = text.find(before + wanted)
    while found >= 0:
        at = found + len(before)
        line, counted = line + text.count("\n", counted, at), at
        lines[at] = line
        found = text.find(before + wanted, found + 1)
    return lines


def _after_line_start(text: str, before: str, wanted: str) -> dict[int, int]:
    """Return the occurrences of ``wanted`` after the last line with text in ``before``.

    The indentation is ignored.
    """
    last = next((index for index in range(len(before) - 1, -1, -1) if before[index].isalnum()), None)
    if last is None:  # At the document's beginning
        found = text.find(before + wanted)
        at = found + len(before)
        return {} if found < 0 or text[:found].strip() else {at: text.count("\n", 0, at)}
    start = before[before.rfind("\n", 0, last) + 1 :].lstrip(" \t")
    return {at: line for at, line in _occurrences(text, start, wanted).items() if _begins_line(text, at - len(start))}


def _begins_line(text: str, offset: int) -> bool:
    while offset and text[offset - 1] in " \t":
        offset -= 1
    return not offset or text[offset - 1] == "\n"


def _tail(before: str) -> str:
    """Return the shortest end of ``before`` with MIN_TAIL_CHARACTERS, or an empty string.

    White space does not count.
    """
    left = MIN_TAIL_CHARACTERS
    for index in range(len(before) - 1, -1, -1):
        left -= not before[index].isspace()
        if not left:
            return before[index:]
    return ""
