"""The cost of an answer during generation, and the first text outside of the cache."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pellucid.door.users import CurrentRequest
from pellucid.engine.request import Admission
from pellucid.engine.token_scores import TokenScore
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.text.detokenizer import decode
from pellucid.vocabulary.finish import OnUsage, Usage

FEW_TOKENS = 64
"""A prompt with more computed tokens may have changed at its beginning."""

DIFFERENCE_LENGTH = 80


def first_difference(usage: Usage, prompt: Sequence[int], tokenizer: Tokenizer) -> str | None:
    if usage.computed <= FEW_TOKENS:
        return None
    written = [id for id in prompt[usage.cached :] if id >= 0]  # An image has no text.
    return decode(tokenizer, written[:DIFFERENCE_LENGTH])[:DIFFERENCE_LENGTH]


class UsageMeter:
    """Counts for the user token by token, because a client may close an answer before the Finish.

    After the Finish, the user's count is exactly the usage in the Finish.
    """

    def __init__(self, user: CurrentRequest, prediction: int = 0, on_usage: OnUsage | None = None) -> None:
        self._user = user
        self._prediction = prediction
        self._on_usage = on_usage
        self._cached = self._computed = self._generated = self._accepted = 0
        self._queued = 0.0
        self._begun = self._first = self._last = time.monotonic()

    def admit(self, admission: Admission, prompt: int) -> None:
        computed = prompt - admission.cached
        self._cached += admission.cached
        self._computed += computed
        self._queued += admission.queued
        self._user.count(cached=admission.cached, computed=computed)

    def count(self, score: TokenScore) -> None:
        self._accepted += score.predicted
        self._last = time.monotonic()
        if not self._generated:
            self._first = self._last
        self._generated += 1
        self._user.count(generated=1)
        if self._on_usage is not None:
            self._on_usage(self.usage())

    def end(self, usage: Usage) -> None:
        """Correct the user's count: remote engines report only at the end what was cached."""
        self._user.count(
            cached=usage.cached - self._cached,
            computed=usage.computed - self._computed,
            generated=usage.generated - self._generated,
        )

    def usage(self) -> Usage:
        """Return the usage so far, after at least one token."""
        return Usage(
            cached=self._cached,
            computed=self._computed,
            generated=self._generated,
            queued=self._queued,
            # Both items may be read at the same time: only the admission knows the wait for the
            # slot.
            prefill=max(0.0, self._first - self._begun - self._queued),
            decode=self._last - self._first,
            accepted=self._accepted,
            prediction=self._prediction,
        )
