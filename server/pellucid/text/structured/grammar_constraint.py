"""Constrains the engine to the tokens that a grammar allows."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from llguidance import LLMatcher

from pellucid.engine.request import ConstraintError
from pellucid.engine.token_mask import TokenMask

MAX_SECONDS = 1.0
"""Processor time for the tokens that may come next, of an answer or of a call in it: other answers
wait meanwhile.
"""

MAX_SECONDS_PER_TOKEN = 0.001
"""Further time for each token. Usual grammars take a twentieth of it."""


class GrammarError(ConstraintError):
    """A grammar that became too complex while an answer was generated, or that no text can fit."""


class GrammarConstraint:
    """One answer's place in a grammar.

    The tokens that end a text are allowed exactly where the grammar may end.

    ``vocab`` is the number of ids that the tokenizer has. Without ``foresees``, forced tokens are
    not computed ahead, which uses the tokenizer. ``failure`` is the reason why the answer could not
    continue, as part of a sentence.
    """

    def __init__(self, matcher: LLMatcher, vocab: int, *, foresees: bool) -> None:
        self.failure: str | None = None
        self._matcher = matcher
        self._mask = np.zeros(-(-vocab // 32), dtype=np.int32)
        self._foresees = foresees
        self._seconds_left = MAX_SECONDS

    def copy(self) -> GrammarConstraint:
        """Return a constraint at the same place."""
        return GrammarConstraint(self._matcher.deep_copy(), len(self._mask) * 32, foresees=self._foresees)

    def after(self, ids: Sequence[int]) -> GrammarConstraint | None:
        """Return a constraint at the place after these tokens, or None if they break the grammar."""
        copy = self.copy()
        return copy if copy._matcher.try_consume_tokens(list(ids)) == len(ids) else None

    @property
    def may_end(self) -> bool:
        """True if the text so far is whole."""
        return self._matcher.is_accepting()

    @property
    def hides_refused(self) -> bool:
        """False: refused tokens show what the model would have said without the grammar."""
        return False

    def allowed(self) -> TokenMask:
        """Return the set of tokens that may come next. It changes with the next call."""
        begun = time.thread_time()
        self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        if self._matcher.is_error():
            raise self._failed(self._matcher.get_error())
        self._spend(time.thread_time() - begun)
        return self._mask

    def forced(self) -> list[int]:
        """Return the tokens that certainly come next; none once the time is used up."""
        if not self._foresees or self._seconds_left < 0:
            return []
        begun = time.thread_time()
        ids = self._matcher.compute_ff_tokens()
        self._seconds_left -= time.thread_time() - begun
        return ids

    def advance(self, id: int) -> None:
        """Advance over a token that was chosen."""
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
