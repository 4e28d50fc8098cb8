"""Whether a suggestion is right: whether it is what the file says."""

from __future__ import annotations


def is_right(text: str, truth: str) -> bool:
    """Whether the file says a text next, blanks at the ends of lines aside, and no word goes on where the text ends.

    Other code that does the same counts as wrong, so that the share of right ones is a lower bound.
    """
    said, wanted = _stripped(text), _stripped(truth)
    if not wanted.startswith(said):
        return False
    return not (said[-1:].isidentifier() or said[-1:].isdigit()) or not (_is_word(wanted[len(said) : len(said) + 1]))


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.split("\n")).rstrip()
