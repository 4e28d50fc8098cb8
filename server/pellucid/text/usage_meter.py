"""Counts the cost of an answer while it is generated, and finds where its prompt left the cache."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pellucid.engine.request import Admission
from pellucid.engine.token_scores import TokenScore
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.text.detokenizer import decode
from pellucid.tokens import Usage

FEW_TOKENS = 64
"""So many computed tokens are the new turn or line that every request has; more may be a prompt
whose beginning has changed.
"""

DIFFERENCE_LENGTH = 80
"""The most characters, and tokens, of a first difference."""


def first_difference(usage: Usage, prompt: Sequence[int], tokenizer: Tokenizer) -> str | None:
    """Return the beginning of the text that the cache did not have, or None if few tokens were computed."""
    if usage.computed <= FEW_TOKENS:
        return None
    return decode(tokenizer, prompt[usage.cached : usage.cached + DIFFERENCE_LENGTH])[:DIFFERENCE_LENGTH]


class UsageMeter:
    """Measures the usage of an answer that a stop may end before the engine reports its own usage."""

    def __init__(self, prompt: int, prediction: int = 0) -> None:
        self._prompt = prompt
        self._prediction = prediction
        self._accepted = 0
        self._admission = Admission(0, 0.0)
        self._generated = 0
        self._begun = self._first = self._last = time.monotonic()

    def admit(self, admission: Admission) -> None:
        """Note that the request has its slot."""
        self._admission = admission

    @property
    def cached(self) -> int:
        """The tokens of the prompt that were in the cache at the admission."""
        return self._admission.cached

    def count(self, score: TokenScore) -> None:
        """Count a token that has just come."""
        self._accepted += score.predicted
        self._last = time.monotonic()
        if not self._generated:
            self._first = self._last
        self._generated += 1

    def usage(self) -> Usage:
        """Return the usage so far. At least one token must have been counted."""
        return Usage(
            cached=self._admission.cached,
            computed=self._prompt - self._admission.cached,
            generated=self._generated,
            queued=self._admission.queued,
            # Both items may be read at once, so that only the admission itself knows the wait for
            # the slot.
            prefill=max(0.0, self._first - self._begun - self._admission.queued),
            decode=self._last - self._first,
            accepted=self._accepted,
            prediction=self._prediction,
        )
