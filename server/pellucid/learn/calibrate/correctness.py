"""Compares suggestions with the text of the file."""

from __future__ import annotations


def is_right(text: str, truth: str) -> bool:
    """Return True if the file continues with the text, ignoring trailing blanks.

    A text that ends inside a word is wrong, and so is different code with the same effect: the
    share of right suggestions is a lower bound.
    """
    suggested, expected = _stripped(text), _stripped(truth)
    if not expected.startswith(suggested):
        return False
    following = expected[len(suggested) : len(suggested) + 1]
    ends_in_word = suggested[-1:].isidentifier() or suggested[-1:].isdigit()
    return not (ends_in_word and (following.isalnum() or following == "_"))


def _stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.split("\n")).rstrip()
