"""Names, numbers and operators of a text, outside of strings and comments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pellucid.code.language_syntax import code_parts, find_syntax
from pellucid.completion.edits.code_tokens import is_name

Part = tuple[int, int]
"""Offsets in a text."""

_KEYWORDS = (
    "\nabstract as assert async await begin bool break byte case catch char class const constexpr continue "
    "def default defer del delete\n"
    "do double elif else elsif end ensure enum except exec export extends extern final finally float fn "
    "for foreach from func function\n"
    "global go goto if impl implements import include inline int interface internal lambda let local long "
    "loop match mod module mut\n"
    "namespace new nonlocal override package pass private protected pub public raise readonly ref require "
    "rescue return sealed select\n"
    "short signed sizeof static string struct super switch template then throw throws trait try type "
    "typedef typename union unless\n"
    "unsafe unsigned until use using val var virtual void volatile when where while with yield\n"
)
KEYWORDS = frozenset(_KEYWORDS.split())
"""Words that open statements and declarations.

Keywords are seldom wrong and often improbable, because any statement may come next.
"""

_SIGNS = "== != === !== < <= > >= + - * / % ** // += -= *= /= && || & | << >> ! ++ --"
_WORD_OPERATORS = "and or not in is True False None true false null nil undefined"
SIGNS, WORD_OPERATORS = frozenset(_SIGNS.split()), frozenset(_WORD_OPERATORS.split())
"""Operators and constants, with few possible replacements."""

_WORD = re.compile(r"\w+|===|!==|==|!=|<=|>=|&&|\|\||->|=>|::|\+\+|--|\*\*|//|<<|>>|[-+*/%&|^]=|[-+*/%<>=&|^~!]")


class Kind(StrEnum):
    """Words like ``and`` and ``True`` are operators."""

    NAME = "name"
    NUMBER = "number"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class CodeWord:
    begin: int
    end: int
    text: str
    kind: Kind


def code_words(text: str, language: str) -> Iterator[CodeWord]:
    for begin, end in code_parts(text, find_syntax(language)):
        for match in _WORD.finditer(text, begin, end):
            kind = kind_of(match.group())
            if kind is not None:
                yield CodeWord(match.start(), match.end(), match.group(), kind)


def kind_of(word: str) -> Kind | None:
    if not _WORD.fullmatch(word) or word in KEYWORDS:
        return None
    if word in SIGNS or word in WORD_OPERATORS:
        return Kind.OPERATOR
    if word[0].isdigit():
        return Kind.NUMBER
    return Kind.NAME if is_name(word) else None
