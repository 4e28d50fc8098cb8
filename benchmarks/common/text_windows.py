"""Long texts cut into windows that a model reads one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

LEAST_WINDOW = 64
"""Tokens of a file's last window, which else is left out."""


def windows(texts: Iterable[Sequence[int]], size: int, tokens: int) -> Iterator[Sequence[int]]:
    """Texts cut into windows, up to so many tokens in all; no window goes over from one text into the next."""
    left = tokens
    for ids in texts:
        for first in range(0, len(ids), size):
            window = ids[first : first + min(size, left)]
            if len(window) >= LEAST_WINDOW:
                yield window
                left -= len(window)
            if left < LEAST_WINDOW:
                return
