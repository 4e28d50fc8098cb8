"""The cost of an answer during generation, and the first text outside of the cache."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pellucid.engine.request import Admission
from pellucid.engine.token_scores import TokenScore
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.text.detokenizer import decode
from pellucid.vocabulary.finish import Usage

FEW_TOKENS = 64
"""A prompt with more computed tokens may have changed at its beginning."""

DIFFERENCE_LENGTH = 80


def first_difference(usage: Usage, prompt: Sequence[int], tokenizer: Tokenizer) -> str | None:
    if usage.computed <= FEW_TOKENS:
        return None
    return decode(tokenizer, prompt[usage.cached : usage.cached + DIFFERENCE_LENGTH])[:DIFFERENCE_LENGTH]


class UsageMeter:
    """A meter for an answer with a possible stop before the engine's own usage report."""

    def __init__(self, prompt: int, prediction: int = 0) -> None:
        self._prompt = prompt
        self._prediction = prediction
        self._accepted = 0
        self._admission = Admission(0, 0.0)
        self._generated = 0
        self._begun = self._first = self._last = time.monotonic()

    def admit(self, admission: Admission) -> None:
        self._admission = admission

    @property
    def cached(self) -> int:
        return self._admission.cached

    def count(self, score: TokenScore) -> None:
        self._accepted += score.predicted
        self._last = time.monotonic()
        if not self._generated:
            self._first = self._last
        self._generated += 1

    def usage(self) -> Usage:
        """Return the usage so far, after at least one token."""
        return Usage(
            cached=self._admission.cached,
            computed=self._prompt - self._admission.cached,
            generated=self._generated,
            queued=self._admission.queued,
            # Both items may be read at the same time: only the admission knows the wait for the
            # slot.
            prefill=max(0.0, self._first - self._begun - self._admission.queued),
            decode=self._last - self._first,
            accepted=self._accepted,
            prediction=self._prediction,
        )
