"""Provides code that lexers are slow for, and the languages that the page highlights."""

from __future__ import annotations

from pygments.lexers import get_all_lexers

from pellucid_webui.conversations.markdown.highlighting import MAX_CODE_CHARACTERS, MAX_LINE_CHARACTERS

PIECES = {
    "blank lines": "\n",
    "blank lines with spaces": "  \n",
    "empty comments": "//\n",
    "opening brackets": "(",
    "closing brackets": "]",
    "angle brackets": "<",
    "braces": "{\n",
    "double quotes": '"',
    "single quotes": "'\n",
    "backslashes": "\\",
    "letters": "a",
    "words": "a ",
    "spaces": " ",
    "numbers": "1,",
}
"""Pieces of text, which fill a code block of the largest size, by what the code consists of."""


def code_of(piece: str, size: int = MAX_CODE_CHARACTERS) -> str:
    """Return code that repeats a piece, with lines as long as those that are highlighted may be."""
    lines = (piece * (MAX_LINE_CHARACTERS // len(piece)) + "\n") * (size // MAX_LINE_CHARACTERS + 1)
    return lines[: size - 1] + "\n"


SLOW = code_of("a ")
"""Code that the lexer of Java takes eight seconds for."""


def languages() -> list[str]:
    """Return one name of each language that the page highlights."""
    return [aliases[0] for _, aliases, _, _ in get_all_lexers(plugins=False) if aliases]
