"""Cuts long texts into windows for separate passes of a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

MIN_WINDOW = 64
"""Minimum tokens of a file's last window; a shorter window is dropped."""


def windows(texts: Iterable[Sequence[int]], size: int, tokens: int) -> Iterator[Sequence[int]]:
    """Yield windows of texts, up to ``tokens`` tokens in all. No window spans two texts."""
    left = tokens
    for ids in texts:
        for first in range(0, len(ids), size):
            window = ids[first : first + min(size, left)]
            if len(window) >= MIN_WINDOW:
                yield window
                left -= len(window)
            if left < MIN_WINDOW:
                return
