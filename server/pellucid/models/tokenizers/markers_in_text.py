"""Search for markers in a text, in time independent of the number of markers in a hostile file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pellucid.errors import ModelError

MAX_MARKER = 256
"""Maximum length of a marker. Markers of real models have up to about 40 characters."""


class MarkerFinder:
    """Looks up each possible beginning of a marker, once per possible length.

    A regular expression with all markers would compare each marker at each position, and cannot be
    interrupted.
    """

    def __init__(self, markers: Iterable[str]) -> None:
        """Raise ModelError for a marker longer than ``MAX_MARKER``."""
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
        """Yield begin and end of each marker, the longest at each position, without overlaps."""
        end = 0
        for begin in self._candidates(text):
            if begin >= end and (marker_end := self._end_of_marker(text, begin)) is not None:
                end = marker_end
                yield begin, end

    def beginnings(self, text: str) -> Iterator[int]:
        """Yield each position of a marker, even inside of another marker."""
        return (begin for begin in self._candidates(text) if self._end_of_marker(text, begin) is not None)

    def _candidates(self, text: str) -> Iterator[int]:
        return iter(()) if self._first is None else (match.start() for match in self._first.finditer(text))

    def _end_of_marker(self, text: str, begin: int) -> int | None:
        for length in self._lengths[text[begin]]:
            if (piece := text[begin : begin + length]) in self._markers:
                return begin + len(piece)  # Shorter at the end of the text.
        return None
