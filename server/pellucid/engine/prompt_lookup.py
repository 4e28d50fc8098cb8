"""Prompt lookup: guesses the next tokens from a prediction or an earlier equal context.

A guess is free, and checking a few guessed tokens costs little more than computing one token: the
weights are read once for all. Only guesses equal to the normally drawn tokens are kept.
"""

from __future__ import annotations

from collections.abc import Sequence as IdSequence

import numpy as np

from pellucid.engine.kv_cache.kv_snapshot import Ids

SHORT_GUESS_TOKENS, LONG_GUESS_TOKENS = 3, 7
"""Length of a guess: by default, and after a fully correct guess."""

MIN_MATCH_TOKENS, SURE_MATCH_TOKENS = 2, 6
"""Minimum length of a match: by default, and after guesses with little benefit."""

MAX_MATCH_TOKENS = 16
"""Maximum number of tokens to compare; longer matches are no better."""

MIN_SAVED_TOKENS = 0.3
"""Minimum of saved tokens per guess: four rows cost up to 20 % more than one row."""

AVERAGE_DECAY = 0.8


class Lookup:
    """Guesses for one sequence of up to ``capacity`` tokens.

    ``prediction`` contains expected tokens of the answer and is tried first.
    """

    def __init__(self, capacity: int, prediction: IdSequence[int] = ()) -> None:
        self._ids: Ids = np.empty(capacity, dtype=np.int64)
        self._length = 0
        self._saved = 1.0  # Average tokens per guess; the start value gives the first guesses a chance.
        self._size = SHORT_GUESS_TOKENS
        self._prediction: Ids = np.asarray(prediction, dtype=np.int64)
        self._next: int | None = 0  # Index of the expected token; None off the prediction.
        self._passed = 0  # Index where the answer diverged.
        self._newest = -1

    def guess(self, ids: IdSequence[int], most: int) -> list[int]:
        """Return up to ``most`` tokens, often none. ``ids`` must extend the last call's ``ids``."""
        self._ids[self._length : len(ids)] = ids[self._length :]
        self._length = len(ids)
        count = min(most, self._size)
        if count < 1:
            return []
        predicted: list[int] = [] if self._next is None else self._prediction[self._next : self._next + count].tolist()
        least = MIN_MATCH_TOKENS if self._saved >= MIN_SAVED_TOKENS else SURE_MATCH_TOKENS
        if predicted or len(ids) <= least:
            return predicted
        end, matched = self._last_match()
        return self._ids[end : min(end + count, len(ids))].tolist() if matched >= least else []

    def follows(self, id: int) -> bool:
        """Return whether ``id`` is the predicted token. Must be called with each token."""
        newest, self._newest = self._newest, id
        if self._next is not None:
            if self._next < len(self._prediction) and self._prediction[self._next] == id:
                self._next += 1
                return True
            self._passed, self._next = self._next, None
        # Two equal tokens in a row find the prediction again, never before the point of divergence.
        rest = self._prediction[max(self._passed - 1, 0) :]
        found = np.flatnonzero((rest[:-1] == newest) & (rest[1:] == id))
        if len(found):
            self._next = len(self._prediction) - len(rest) + int(found[0]) + 2
        return False

    def learn(self, guessed: int, right: int) -> None:
        self._saved = AVERAGE_DECAY * self._saved + (1 - AVERAGE_DECAY) * right
        self._size = LONG_GUESS_TOKENS if right == guessed else SHORT_GUESS_TOKENS

    def _last_match(self) -> tuple[int, int]:
        """Return the end and the length of the longest earlier match (the latest of equals)."""
        ids = self._ids[: self._length]
        ends = np.flatnonzero(ids[:-1] == ids[-1]) + 1
        end, matched = 0, 0
        while len(ends) and matched < MAX_MATCH_TOKENS:
            end, matched = int(ends[-1]), matched + 1
            ends = ends[ends > matched]
            ends = ends[ids[ends - matched - 1] == ids[self._length - matched - 1]]
        return end, matched
