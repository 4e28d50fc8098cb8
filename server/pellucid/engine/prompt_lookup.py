"""Guesses the next tokens by prompt lookup: it copies what followed an earlier occurrence of the last tokens.

A prediction of the answer comes first, as far as the answer follows it.

A guess is free, and checking a few guessed tokens costs little more than computing one, because the
weights are read once for all of them. Only tokens that the model itself would have generated, drawn
by the same sampler, are kept.
"""

from __future__ import annotations

from collections.abc import Sequence as IdSequence

import numpy as np

from pellucid.engine.kv_snapshot import Ids

SHORT_GUESS_TOKENS, LONG_GUESS_TOKENS = 3, 7
"""Length of a guess: at first, and while all of its tokens prove right."""

MIN_MATCH_TOKENS, SURE_MATCH_TOKENS = 2, 6
"""Tokens that must match an earlier occurrence: usually, and once guesses have not been worth it."""

MAX_MATCH_TOKENS = 16
"""Tokens beyond which a longer match is no better."""

MIN_SAVED_TOKENS = 0.3
"""Tokens that a guess must save on average; four rows cost up to a fifth more than one."""

AVERAGE_DECAY = 0.8
"""Weight of the old average at each guess."""


class Lookup:
    """Guesses for one sequence of up to ``capacity`` tokens, and how much they have saved so far.

    ``prediction`` are tokens that the answer may have. They are guessed first, from where the
    answer is in them.
    """

    def __init__(self, capacity: int, prediction: IdSequence[int] = ()) -> None:
        self._ids: Ids = np.empty(capacity, dtype=np.int64)
        self._length = 0
        self._saved = 1.0  # average tokens per guess; the start value gives the first guesses a chance
        self._size = SHORT_GUESS_TOKENS
        self._prediction: Ids = np.asarray(prediction, dtype=np.int64)
        self._next: int | None = (
            0  # the place in the prediction whose token should come next; None if the answer has left it
        )
        self._passed = 0  # the place where the answer left it
        self._newest = -1  # the newest token of the answer

    def guess(self, ids: IdSequence[int], most: int) -> list[int]:
        """Return up to ``most`` tokens that may follow ``ids``, often none.

        ``ids`` has only grown since the last call.
        """
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
        """Return whether the next token of the answer is the one that the prediction has there.

        Call it with each token.
        """
        newest, self._newest = self._newest, id
        if self._next is not None:
            if self._next < len(self._prediction) and self._prediction[self._next] == id:
                self._next += 1
                return True
            self._passed, self._next = self._next, None
        # Two tokens in a row lead back, and never to a place before the one where the answer left.
        rest = self._prediction[max(self._passed - 1, 0) :]
        found = np.flatnonzero((rest[:-1] == newest) & (rest[1:] == id))
        if len(found):
            self._next = len(self._prediction) - len(rest) + int(found[0]) + 2
        return False

    def learn(self, guessed: int, right: int) -> None:
        """Record how many tokens of a guess proved right."""
        self._saved = AVERAGE_DECAY * self._saved + (1 - AVERAGE_DECAY) * right
        self._size = LONG_GUESS_TOKENS if right == guessed else SHORT_GUESS_TOKENS

    def _last_match(self) -> tuple[int, int]:
        """Return where the longest earlier match of the last tokens ends, the latest of several, and its length."""
        ids = self._ids[: self._length]
        ends = np.flatnonzero(ids[:-1] == ids[-1]) + 1
        end, matched = 0, 0
        while len(ends) and matched < MAX_MATCH_TOKENS:
            end, matched = int(ends[-1]), matched + 1
            ends = ends[ends > matched]
            ends = ends[ids[ends - matched - 1] == ids[self._length - matched - 1]]
        return end, matched
