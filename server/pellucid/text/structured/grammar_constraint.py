"""A constraint of the engine to the tokens that a grammar allows."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from llguidance import LLMatcher

from pellucid.engine.request import ConstraintError
from pellucid.engine.token_mask import TokenMask

MAX_SECONDS = 1.0
"""Processor time for the token masks of an answer or a call: concurrent answers wait meanwhile."""

MAX_SECONDS_PER_TOKEN = 0.001
"""Further time for each token. Usual grammars take a twentieth."""


class GrammarError(ConstraintError):
    """A grammar that became too complex during generation, or that no text can fit."""


class GrammarConstraint:
    """An answer's position in a grammar.

    The tokens that end a text are allowed exactly where the grammar may end.

    ``vocab`` is the number of ids. Without ``foresees``, no tokens are forced, because the
    computation uses the tokenizer. ``failure`` is the reason why the answer could not continue, as
    part of a sentence.
    """

    def __init__(self, matcher: LLMatcher, vocab: int, *, foresees: bool) -> None:
        self.failure: str | None = None
        self._matcher = matcher
        self._mask = np.zeros(-(-vocab // 32), dtype=np.int32)
        self._foresees = foresees
        self._seconds_left = MAX_SECONDS

    def copy(self) -> GrammarConstraint:
        """Return a constraint at the same position, with the full time."""
        return GrammarConstraint(self._matcher.deep_copy(), len(self._mask) * 32, foresees=self._foresees)

    def after(self, ids: Sequence[int]) -> GrammarConstraint | None:
        """Return a constraint after these tokens, or None if the tokens break the grammar."""
        copy = self.copy()
        return copy if copy._matcher.try_consume_tokens(list(ids)) == len(ids) else None

    @property
    def may_end(self) -> bool:
        return self._matcher.is_accepting()

    @property
    def hides_refused(self) -> bool:
        """False: refused tokens show the model's answer without the grammar."""
        return False

    def allowed(self) -> TokenMask:
        """Return the mask of tokens that may come next. The next call overwrites the mask."""
        begun = time.thread_time()
        self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        if self._matcher.is_error():
            raise self._failed(self._matcher.get_error())
        self._spend(time.thread_time() - begun)
        return self._mask

    def forced(self) -> list[int]:
        """Return the forced next tokens, or [] after the time is used up."""
        if not self._foresees or self._seconds_left < 0:
            return []
        begun = time.thread_time()
        ids = self._matcher.compute_ff_tokens()
        self._seconds_left -= time.thread_time() - begun
        return ids

    def advance(self, id: int) -> None:
        self._seconds_left += MAX_SECONDS_PER_TOKEN
        if not self._matcher.consume_token(id):
            raise self._failed(self._matcher.get_error())

    def _spend(self, seconds: float) -> None:
        self._seconds_left -= seconds
        if self._seconds_left < 0:
            raise self._failed("its tokens took too long")

    def _failed(self, reason: str) -> GrammarError:
        short = " ".join(reason.replace("<non-verbose/>", "").split())[:200]
        self.failure = f"the grammar is too complex, or no text fits it ({short}): simplify it"
        return GrammarError(self.failure)
