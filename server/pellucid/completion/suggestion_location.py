"""Where an accepted suggestion stands in a document that has changed since."""

from __future__ import annotations

import re

from pellucid.completion.suggestion import Suggestion

CONTEXT = 40
"""Characters before a suggestion by which it is told from another piece of text like it."""

ENOUGH = 12
"""So many characters before a suggestion, blanks not counted, say that it stands there, though its line begins otherwise."""

TELLING, WORDS = 20, 3
"""A text of so many characters and words is known by itself, if the document has it once."""

_WORD = re.compile(r"\w+")


def locate(text: str, suggestion: Suggestion) -> int | None:
    """The offset at which a suggestion stands in a text whose lines end with a line feed, or None.

    It counts only after what was before it: its line from the beginning, but for the indentation, or enough characters.
    Of several places the one with the same text before it counts, then the one nearest to the line where it was inserted.
    A telling text is found after anything else as well.
    """
    cursor, wanted = suggestion.cursor, suggestion.text
    here, tail = cursor.before[-CONTEXT:], _tail(cursor.before)
    lines = _after_line_start(text, cursor.before, wanted) | (_occurrences(text, tail, wanted) if tail else {})
    if not lines and _is_telling(wanted) and text.count(wanted) == 1:
        return text.index(wanted)
    return min(lines, key=lambda at: (not text.endswith(here, 0, at), abs(lines[at] - cursor.position[0])), default=None)


def token_at(suggestion: Suggestion, offset: int) -> int | None:
    """The index of the token that holds the character at an offset from the suggestion's start, or None."""
    end = 0
    for index, token in enumerate(suggestion.tokens):
        end += len(token.text)
        if offset < end:
            return index if offset >= 0 else None
    return None


def _occurrences(text: str, before: str, wanted: str) -> dict[int, int]:
    """The offsets at which a text stands after another one, each with its line, counted from 0."""
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
    """Where a text stands after all that ``before`` has from its last line that says something, indented or not."""
    said = next((index for index in range(len(before) - 1, -1, -1) if before[index].isalnum()), None)
    if said is None:  # then it stood where the document begins
        found = text.find(before + wanted)
        at = found + len(before)
        return {} if found < 0 or text[:found].strip() else {at: text.count("\n", 0, at)}
    start = before[before.rfind("\n", 0, said) + 1 :].lstrip(" \t")
    return {at: line for at, line in _occurrences(text, start, wanted).items() if _begins_line(text, at - len(start))}


def _begins_line(text: str, offset: int) -> bool:
    """Whether only indentation is left of an offset."""
    while offset and text[offset - 1] in " \t":
        offset -= 1
    return not offset or text[offset - 1] == "\n"


def _tail(before: str) -> str:
    """The shortest end of ``before`` that has ENOUGH characters which are no blanks; nothing if all of it has fewer."""
    left = ENOUGH
    for index in range(len(before) - 1, -1, -1):
        left -= not before[index].isspace()
        if not left:
            return before[index:]
    return ""


def _is_telling(text: str) -> bool:
    return len(text) >= TELLING and len(_WORD.findall(text)) >= WORDS
