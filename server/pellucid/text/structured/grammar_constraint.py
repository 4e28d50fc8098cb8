"""Constrains the engine to the tokens that a grammar allows."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from llguidance import LLMatcher

from pellucid.engine.token_mask import TokenMask

MAX_MASK_SECONDS = 0.5
"""Processor time for the tokens that may come next, beyond which the answer fails: other answers wait meanwhile."""


class GrammarError(ValueError):
    """A grammar that became too complex while an answer was generated."""


class GrammarConstraint:
    """One answer's place in a grammar. The tokens that end a text are allowed exactly where the grammar may end.

    ``vocab`` is the number of ids that the tokenizer has. Without ``foresees``, forced tokens are not computed ahead, which uses the
    tokenizer.
    """

    def __init__(self, matcher: LLMatcher, vocab: int, *, foresees: bool) -> None:
        self._matcher = matcher
        self._mask = np.zeros(-(-vocab // 32), dtype=np.int32)
        self._foresees = foresees

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
        if time.thread_time() - begun > MAX_MASK_SECONDS:
            raise self._failed(f"one token took longer than {MAX_MASK_SECONDS:g} seconds")
        return self._mask

    def forced(self) -> list[int]:
        """Return the tokens that certainly come next."""
        return self._matcher.compute_ff_tokens() if self._foresees else []

    def advance(self, id: int) -> None:
        """Advance over a token that was chosen."""
        if not self._matcher.consume_token(id):
            raise self._failed(self._matcher.get_error())

    def _failed(self, reason: str) -> GrammarError:
        return GrammarError(f"the grammar is too complex for this answer ({' '.join(reason.split())[:200]}): simplify it")
