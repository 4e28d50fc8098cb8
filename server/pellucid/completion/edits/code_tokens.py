"""Splits code into words, numbers, spaces and signs, as far as that is possible without knowing its language."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\w+|[^\S\n]+|[^\w\s]|\n")
_NAME = re.compile(r"[^\W\d]\w*\Z")


def code_tokens(text: str) -> list[str]:
    """Return the tokens of a text; they join to it."""
    return _TOKEN.findall(text)


def is_name(token: str) -> bool:
    """Return whether a token is a name or a keyword."""
    return _NAME.match(token) is not None


def is_word(token: str) -> bool:
    """Return whether a token is a name, a keyword or a number."""
    return token[:1].isalnum() or token[:1] == "_"
