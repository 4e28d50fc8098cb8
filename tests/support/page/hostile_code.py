"""Provides slow code for lexers, and the highlighted languages."""

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
"""Pieces of text to fill a code block of the largest size, by name."""


def code_of(piece: str, size: int = MAX_CODE_CHARACTERS) -> str:
    """Return code made of a repeated piece, in lines of the maximum highlighted length."""
    lines = (piece * (MAX_LINE_CHARACTERS // len(piece)) + "\n") * (size // MAX_LINE_CHARACTERS + 1)
    return lines[: size - 1] + "\n"


SLOW = code_of("a ")
"""Code that takes the lexer of Java eight seconds."""


def languages() -> list[str]:
    """Return a name of each highlighted language."""
    return [aliases[0] for _, aliases, _, _ in get_all_lexers(plugins=False) if aliases]
