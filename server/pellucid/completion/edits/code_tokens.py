"""Code split into words, numbers, spaces and signs, without knowledge of the language."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

TELLING_LETTERS = 3
"""Minimum length of a name that identifies code without the text around."""

MAX_LINE_CHARACTERS = 1_000
"""Longer lines are data or generated; nothing is repeated there."""

IMPORT = re.compile(r"\s*(?:import|from|use|using|require|#\s*include)\b")
"""Lines that a document has only once."""

_TOKEN = re.compile(r"\w+|[^\S\n]+|[=!]==?|[<>:+\-*/%&|^]=|=>|->|::|&&|\|\||\?\?|[^\w\s]|\n")
_NAME = re.compile(r"[^\W\d]\w*\Z")


@dataclass(frozen=True, slots=True)
class Sign:
    """A token, and the token's place in a line."""

    text: str
    begin: int
    end: int


def code_tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


def is_name(token: str) -> bool:
    return _NAME.match(token) is not None


def is_word(token: str) -> bool:
    return token[:1].isalnum() or token[:1] == "_"


def is_telling(token: str) -> bool:
    return is_name(token) and len(token) >= TELLING_LETTERS


def is_compound(name: str) -> bool:
    """Return whether a name is made of several words, unlike the words of prose."""
    return re.search(r"[^\W_]_[^\W_]|[a-z\d][A-Z]", name) is not None


def signs(line: str) -> list[Sign]:
    return [Sign(one[0], one.start(), one.end()) for one in _TOKEN.finditer(line) if not one[0].isspace()]


def renamed(text: str, words: Mapping[str, str]) -> str:
    return "".join(words.get(token, token) for token in code_tokens(text)) if words else text


def depth(text: str) -> int:
    return sum((sign in "([{") - (sign in ")]}") for sign in text)


def lines_with(names: Collection[str], lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the indexed lines with any of the names, because only these need tokenization."""
    if names:
        pattern = re.compile("|".join(map(re.escape, names)))
        for index, line in enumerate(lines):
            if len(line) <= MAX_LINE_CHARACTERS and pattern.search(line):
                yield index, line
