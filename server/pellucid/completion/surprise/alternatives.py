"""Replacements for surprising words: alternatives, opposite operators, swapped arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pellucid.completion.surprise.code_lexer import WORD_OPERATORS, CodeWord, Kind, kind_of
from pellucid.completion.surprise.word_readings import WordReading

MAX_ALTERNATIVES = 4

_PAIRS = (
    "== != | < <= > | > >= < | + - | += -= | * / | ++ -- | && || "
    "| << >> | and or | True False | true false | max min | === !=="
)
_OPPOSITES: dict[str, list[str]] = {}
for _group in _PAIRS.split(" | "):
    for _one in _group.split():
        _OPPOSITES.setdefault(_one, []).extend(_other for _other in _group.split() if _other != _one)

_SMALL_NUMBER = re.compile("[0-9]{1,9}")  # Python reads at most 4,300 digits
_SIMPLE = r"\w+(?:\.\w+)*"
_NEXT_ARGUMENT = re.compile(rf"\s*,\s*({_SIMPLE})(?=\s*[,)])")
_ARGUMENT_BEFORE = re.compile(rf"(?<=[(,])(\s*)({_SIMPLE})\s*,\s*\Z")
_LINE_START = 200


@dataclass(frozen=True, slots=True)
class Replacement:
    begin: int
    end: int
    text: str


def alternatives(reading: WordReading, text: str, names: Mapping[str, int]) -> list[Replacement]:
    """Return up to MAX_ALTERNATIVES replacements of a word.

    ``names``: the document's words with their frequencies.
    """
    word = reading.word
    found = dict.fromkeys(
        [*_swapped(word, text), *(Replacement(word.begin, word.end, other) for other in _others(reading, text, names))]
    )
    return list(found)[:MAX_ALTERNATIVES]


def _others(reading: WordReading, text: str, names: Mapping[str, int]) -> Iterator[str]:
    word = reading.word
    yield from _OPPOSITES.get(word.text, ())
    if word.kind is Kind.NUMBER and _SMALL_NUMBER.fullmatch(word.text):
        value = int(word.text)
        yield from (str(other) for other in (value - 1, value + 1) if other >= 0)
    before, lead = text[word.begin : reading.at], text[reading.at : word.begin]
    for alternative in reading.token.top:
        if alternative.text.startswith(lead):
            other = before + alternative.text[len(lead) :]
            yield from (
                whole
                for whole in _completed(other, names)
                if whole != word.text
                # A constant, such as None, may replace a name.
                and (kind_of(whole) is word.kind or (word.kind is Kind.NAME and whole in WORD_OPERATORS))
            )


def _completed(beginning: str, names: Mapping[str, int]) -> Iterator[str]:
    """Yield the beginning, if a known name or never continued, and the commonest longer name."""
    longer = [name for name in names if name.startswith(beginning) and name != beginning] if beginning else []
    if beginning in names or not longer:
        yield beginning
    if longer:
        yield max(longer, key=lambda name: names[name])


def _swapped(word: CodeWord, text: str) -> Iterator[Replacement]:
    """Yield the word's exchange with the next argument and with the previous argument."""
    before = text[max(0, word.begin - _LINE_START) : word.begin]
    if (following := _NEXT_ARGUMENT.match(text, word.end)) and re.search(r"[(,]\s*\Z", before):
        end = following.end(1)
        if following[1] != word.text:
            yield Replacement(word.begin, end, following[1] + text[word.end : following.start(1)] + word.text)
    if (previous := _ARGUMENT_BEFORE.search(before)) and re.match(r"\s*[,)]", text[word.end : word.end + _LINE_START]):
        begin = word.begin - len(before) + previous.start(2)
        if previous[2] != word.text:
            yield Replacement(begin, word.end, word.text + text[begin + len(previous[2]) : word.begin] + previous[2])
