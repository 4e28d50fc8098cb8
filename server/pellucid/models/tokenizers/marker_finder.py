"""Finds a tokenizer's markers in a text, in time that grows with the text and not with how many markers a hostile file defines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pellucid.errors import ModelError

LONGEST_MARKER = 256
"""Characters of a marker; those of real models have up to about 40."""


class MarkerFinder:
    """Looks a text up at the places where a marker can begin, once for each length that a marker there can have.

    An alternation of all markers would compare each of them at each place, and a regular expression cannot be interrupted.
    """

    def __init__(self, markers: Iterable[str]) -> None:
        """Raise ModelError for a marker of more than ``LONGEST_MARKER`` characters."""
        self._markers = frozenset(markers)
        longest = max(map(len, self._markers), default=0)
        if longest > LONGEST_MARKER:
            raise ModelError(f"The tokenizer defines a marker of {longest} characters, where at most {LONGEST_MARKER} are supported.")
        lengths: dict[str, set[int]] = {}
        for marker in self._markers - {""}:
            lengths.setdefault(marker[0], set()).add(len(marker))
        self._lengths = {first: sorted(found, reverse=True) for first, found in lengths.items()}
        self._first = re.compile(f"[{''.join(map(re.escape, self._lengths))}]") if self._lengths else None

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where each marker begins and ends, the longest one at each place, without overlaps."""
        end = 0
        for begin in self._candidates(text):
            if begin >= end and (found := self._ends_at(text, begin)) is not None:
                end = found
                yield begin, end

    def beginnings(self, text: str) -> Iterator[int]:
        """Yield each place where a marker is spelled, also inside of another marker."""
        return (begin for begin in self._candidates(text) if self._ends_at(text, begin) is not None)

    def _candidates(self, text: str) -> Iterator[int]:
        return iter(()) if self._first is None else (match.start() for match in self._first.finditer(text))

    def _ends_at(self, text: str, begin: int) -> int | None:
        for length in self._lengths[text[begin]]:
            if (piece := text[begin : begin + length]) in self._markers:
                return begin + len(piece)  # shorter at the end of the text
        return None
