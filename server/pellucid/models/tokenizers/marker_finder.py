"""Finds a tokenizer's markers in a text, in time that does not depend on how many markers a hostile file defines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pellucid.errors import ModelError

MAX_MARKER = 256
"""The most characters of a marker. Those of real models have up to about 40."""


class MarkerFinder:
    """Finds markers by looking up a text where one can begin, once for each length that it can have.

    An alternation of all markers would compare each of them at each position, and a regular
    expression cannot be interrupted.
    """

    def __init__(self, markers: Iterable[str]) -> None:
        """Raise ModelError for a marker of more than ``MAX_MARKER`` characters."""
        self._markers = frozenset(markers)
        longest = max(map(len, self._markers), default=0)
        if longest > MAX_MARKER:
            raise ModelError(
                f"The tokenizer defines a marker of {longest} characters; at most {MAX_MARKER} are supported."
            )
        lengths: dict[str, set[int]] = {}
        for marker in self._markers - {""}:
            lengths.setdefault(marker[0], set()).add(len(marker))
        self._lengths = {first: sorted(sizes, reverse=True) for first, sizes in lengths.items()}
        self._first = re.compile(f"[{''.join(map(re.escape, self._lengths))}]") if self._lengths else None

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where each marker begins and ends, the longest one at each position, without overlaps."""
        end = 0
        for begin in self._candidates(text):
            if begin >= end and (marker_end := self._end_of_marker(text, begin)) is not None:
                end = marker_end
                yield begin, end

    def beginnings(self, text: str) -> Iterator[int]:
        """Yield each position where a marker is spelled, even inside of another marker."""
        return (begin for begin in self._candidates(text) if self._end_of_marker(text, begin) is not None)

    def _candidates(self, text: str) -> Iterator[int]:
        return iter(()) if self._first is None else (match.start() for match in self._first.finditer(text))

    def _end_of_marker(self, text: str, begin: int) -> int | None:
        for length in self._lengths[text[begin]]:
            if (piece := text[begin : begin + length]) in self._markers:
                return begin + len(piece)  # shorter at the end of the text
        return None
