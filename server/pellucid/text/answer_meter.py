"""What an answer has cost so far."""

from __future__ import annotations

import time

from pellucid.engine.request import Admission
from pellucid.tokens import Usage


class UsageMeter:
    """The cost of an answer that ended here, at a stop, before the engine could give its own account."""

    def __init__(self, prompt: int) -> None:
        self._prompt = prompt
        self._admission = Admission(0, 0.0)
        self._generated = 0
        self._begun = self._first = self._last = time.monotonic()

    def admit(self, admission: Admission) -> None:
        """The request has its slot."""
        self._admission = admission

    def count(self) -> None:
        """Another token has come."""
        self._last = time.monotonic()
        if not self._generated:
            self._first = self._last
        self._generated += 1

    def usage(self) -> Usage:
        """The account until now, after at least one token."""
        return Usage(
            cached=self._admission.cached,
            computed=self._prompt - self._admission.cached,
            generated=self._generated,
            queued=self._admission.queued,
            # The admission may be read only when the first token has come as well: its own word says when it was.
            prefill=max(0.0, self._first - self._begun - self._admission.queued),
            decode=self._last - self._first,
        )
