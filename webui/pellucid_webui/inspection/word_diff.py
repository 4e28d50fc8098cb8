"""Differences of two texts by words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate

_PIECES = re.compile(r"\s*(?:\w+|[^\w\s])|\s+$")

_MAX_PAIRS = 4_000_000
"""For more pairs, a comparison with frequent pieces would take seconds."""


@dataclass(frozen=True, slots=True)
class TextDifference:
    a: tuple[int, int]
    b: tuple[int, int]


def differences(a: str, b: str) -> list[TextDifference]:
    """Return the differences of two texts, by whole words and in order."""
    pieces_a, pieces_b = _PIECES.findall(a), _PIECES.findall(b)
    ends_a, ends_b = [0, *accumulate(map(len, pieces_a))], [0, *accumulate(map(len, pieces_b))]
    found: list[TextDifference] = []
    is_long = len(pieces_a) * len(pieces_b) > _MAX_PAIRS
    for kind, from_a, to_a, from_b, to_b in SequenceMatcher(None, pieces_a, pieces_b, autojunk=is_long).get_opcodes():
        if kind == "equal":
            continue
        here = TextDifference((ends_a[from_a], ends_a[to_a]), (ends_b[from_b], ends_b[to_b]))
        # Only white space lies between: show a single difference.
        if found and not a[found[-1].a[1] : here.a[0]].strip():
            here = TextDifference((found[-1].a[0], here.a[1]), (found[-1].b[0], here.b[1]))
            found.pop()
        found.append(here)
    return [_without_common_space(a, b, one) for one in found]


def _without_common_space(a: str, b: str, found: TextDifference) -> TextDifference:
    """Remove leading white space common to both sides."""
    (from_a, to_a), (from_b, to_b) = found.a, found.b
    while from_a < to_a and from_b < to_b and a[from_a] == b[from_b] and a[from_a].isspace():
        from_a, from_b = from_a + 1, from_b + 1
    return TextDifference((from_a, to_a), (from_b, to_b))
