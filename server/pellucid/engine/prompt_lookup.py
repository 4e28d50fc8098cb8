"""Prompt lookup: how a text may go on, guessed from where it stood like this before.

A guess costs nothing to make, and checking a few guessed tokens costs little more than computing one, because the weights
are read once for all of them. What is kept is what the model would have said anyway, drawn by the same sampler.
"""

from __future__ import annotations

from collections.abc import Sequence as IdSequence

import numpy as np

from pellucid.engine.kv_snapshot import Ids

SHORT, LONG = 3, 7
"""How many tokens are guessed: at first, and while all of them prove right."""

LEAST, SURE = 2, 6
"""How many tokens must have stood before: usually, and once guesses have not been worth it."""

MOST = 16
"""Tokens beyond which a longer agreement says no more."""

WORTH = 0.3
"""Tokens that a guess must save on average; four rows cost up to a fifth more than one."""

MEMORY = 0.8
"""How much of that average stays at each guess."""


class Lookup:
    """Guesses for one sequence of up to ``capacity`` tokens, and how much they have saved until now."""

    def __init__(self, capacity: int) -> None:
        self._ids: Ids = np.empty(capacity, dtype=np.int64)
        self._length = 0
        self._saved = 1.0  # tokens a guess, on average; the first ones are on credit
        self._size = SHORT

    def guess(self, ids: IdSequence[int], most: int) -> list[int]:
        """Up to ``most`` tokens that may follow ``ids``, which has only grown since the last call; often none."""
        self._ids[self._length : len(ids)] = ids[self._length :]
        self._length = len(ids)
        count = min(most, self._size)
        least = LEAST if self._saved >= WORTH else SURE
        if count < 1 or len(ids) <= least:
            return []
        end, agreed = self._stood_before()
        return self._ids[end : min(end + count, len(ids))].tolist() if agreed >= least else []

    def learn(self, guessed: int, right: int) -> None:
        """Take note of how many tokens of a guess proved right."""
        self._saved = MEMORY * self._saved + (1 - MEMORY) * right
        self._size = LONG if right == guessed else SHORT

    def _stood_before(self) -> tuple[int, int]:
        """Where the longest earlier agreement with the last tokens ends, the latest of several, and how long it is."""
        ids = self._ids[: self._length]
        ends = np.flatnonzero(ids[:-1] == ids[-1]) + 1
        end, agreed = 0, 0
        while len(ends) and agreed < MOST:
            end, agreed = int(ends[-1]), agreed + 1
            ends = ends[ends > agreed]
            ends = ends[ids[ends - agreed - 1] == ids[self._length - agreed - 1]]
        return end, agreed
