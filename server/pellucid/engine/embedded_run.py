"""Prompt tokens with given rows in place of the vocabulary's embeddings, such as an image's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.model import Indices


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedRun:
    """``rows`` (n, hidden) float32 for the prompt's tokens from index ``start``.

    The prompt's ids at these tokens are below 0. Equal ids must mean equal rows, because prompts
    share cached prefixes by ids. Each token of a ``whole`` run sees all tokens of the run. ``grid``
    is the height and width of a run whose tokens have two-dimensional positions.
    """

    start: int
    rows: NDArray[np.float32]
    whole: bool = False
    grid: tuple[int, int] | None = None

    @property
    def end(self) -> int:
        return self.start + len(self.rows)


def rows_between(runs: Sequence[EmbeddedRun], start: int, end: int) -> list[NDArray[np.float32]]:
    """Return the rows of the tokens from ``start`` to ``end``, in order."""
    return [
        run.rows[max(start - run.start, 0) : end - run.start] for run in runs if run.start < end and start < run.end
    ]


def stretches(runs: Sequence[EmbeddedRun], start: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """Yield start, end and ``whole`` of each stretch of the tokens from ``start`` to ``end``."""
    for run in runs:
        if run.whole and start < run.end and run.start < end:
            if start < run.start:
                yield start, run.start, False
            yield max(start, run.start), min(run.end, end), True
            start = run.end
    if start < end:
        yield start, end, False


def unsplit(runs: Sequence[EmbeddedRun], end: int) -> int:
    """Return ``end``, or the end of the whole run that ``end`` would split."""
    return next((run.end for run in runs if run.whole and run.start < end < run.end), end)


def axis_positions(runs: Sequence[EmbeddedRun], length: int) -> Indices | None:
    """Return the positions (length, 3) in time, height and width of a prompt's tokens.

    The tokens of a grid have one time; the text after a grid continues behind the grid's longer
    side (Wang et al. 2024, arXiv 2409.12191, section 2.1). Return None without a grid.
    """
    if all(run.grid is None for run in runs):
        return None
    parts, at, position = [], 0, 0
    for run in (*runs, EmbeddedRun(length, np.empty((0, 0), np.float32), grid=(0, 0))):
        if run.grid is None:
            continue
        parts.append(np.repeat(np.arange(position, position + run.start - at)[:, None], 3, axis=1))
        position += run.start - at
        height, width = np.indices(run.grid).reshape(2, -1)
        parts.append(position + np.stack((np.zeros_like(height), height, width), axis=1))
        at, position = run.end, position + max(run.grid)
    return np.concatenate(parts)
