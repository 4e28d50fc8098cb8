"""Finds the words in which two texts differ."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate

_PIECES = re.compile(r"\w+|\s+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class TextDifference:
    """A place where two texts differ, as the character ranges (start, end) in each."""

    a: tuple[int, int]
    b: tuple[int, int]


def differences(a: str, b: str) -> list[TextDifference]:
    """Return the places where two texts differ, by whole words and in order; the text between them is equal."""
    pieces_a, pieces_b = _PIECES.findall(a), _PIECES.findall(b)
    ends_a, ends_b = [0, *accumulate(map(len, pieces_a))], [0, *accumulate(map(len, pieces_b))]
    found: list[TextDifference] = []
    for kind, from_a, to_a, from_b, to_b in SequenceMatcher(None, pieces_a, pieces_b).get_opcodes():
        if kind == "equal":
            continue
        here = TextDifference((ends_a[from_a], ends_a[to_a]), (ends_b[from_b], ends_b[to_b]))
        if found and not a[found[-1].a[1] : here.a[0]].strip():  # only white space between them: show them as one
            here = TextDifference((found[-1].a[0], here.a[1]), (found[-1].b[0], here.b[1]))
            found.pop()
        found.append(here)
    return found
