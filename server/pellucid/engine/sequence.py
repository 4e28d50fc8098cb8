"""The state of one request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.embedded_run import axis_positions
from pellucid.engine.kv_cache.kv_snapshot import Ids
from pellucid.engine.model import Indices
from pellucid.engine.prompt_lookup import Lookup
from pellucid.engine.request import Admission, Request
from pellucid.engine.sampler import Sampler
from pellucid.engine.token_scores import TokenScore
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.query import Priority


@dataclass(frozen=True, slots=True)
class HiddenSum:
    """The sum (hidden,) of the last hidden states of prompt tokens."""

    values: NDArray[np.float64]


Item = Admission | TokenScore | HiddenSum | Finish | Exception


@dataclass(eq=False, slots=True)
class Sequence:
    """A request, ``ids`` (prompt and answer), and progress.

    Invariant: ``0 <= cached <= computed <= len(ids)``. The keys and values of the first
    ``computed`` ids are in ``slot``; the first ``cached`` came from the cache. Times are in seconds
    of the engine's clock.
    """

    request: Request
    number: int
    deliver: Callable[[Item], None]
    submitted: float
    capacity: int
    ids: list[int] = field(init=False)
    prompt: Ids = field(init=False)
    sampler: Sampler = field(init=False)
    lookup: Lookup = field(init=False)
    axes: Indices | None = field(init=False)
    """Positions (prompt, 3) in time, height and width, if an image has such positions."""
    slot: int | None = None
    cached: int = 0
    computed: int = 0
    overtaken: int = 0
    admitted: float | None = None
    first_token: float | None = None
    accepted: int = 0

    def __post_init__(self) -> None:
        self.ids = list(self.request.prompt)
        self.prompt = np.asarray(self.ids, dtype=np.int64)
        self.sampler = Sampler(self.request.params, self.ids, self.request.constraint)
        self.lookup = Lookup(self.capacity, self.request.prediction)
        self.axes = axis_positions(self.request.embedded, len(self.ids))

    @property
    def priority(self) -> Priority:
        return self.request.terms.priority

    @property
    def prefilling(self) -> bool:
        return len(self.ids) - self.computed > 1 or self.generated == 0

    @property
    def generated(self) -> int:
        return len(self.ids) - len(self.prompt)

    @property
    def wants_token(self) -> bool:
        return self.generated < self.request.params.max_tokens and len(self.ids) < self.capacity

    @property
    def reusable(self) -> int:
        """Number of prompt tokens usable from the cache: scored tokens must be computed."""
        if self.request.pool:
            return 0
        limit = len(self.prompt) - 1 if self.wants_token else len(self.prompt)
        if self.request.score_from is not None:
            limit = min(limit, max(self.request.score_from - 1, 0))
        return limit

    def wanted(self, start: int, end: int) -> range:
        if self.request.pool:
            return range(start, end)
        first = len(self.ids) - 1  # Continue from the newest token.
        last = first + 1 if self.wants_token else first
        if self.request.score_from is not None and end <= len(self.prompt):
            first = max(self.request.score_from - 1, 0)  # Score prompt tokens.
        return range(max(start, first), min(end, last))

    def guess(self, most: int) -> list[int]:
        """Return up to ``most`` guesses for the tokens after the next token.

        Tokens forced by a constraint are certain and come before lookup guesses.
        """
        if not self.request.lookup:
            return []
        room = min(self.request.params.max_tokens - self.generated, self.capacity - len(self.ids)) - 1
        most = min(most, room)
        forced = self.sampler.forced() if most > 0 else []
        guessed = forced[:most] or self.lookup.guess(self.ids, most)
        return list(takewhile(lambda token: token >= 0, guessed))  # A guess may repeat an image.

    def axes_between(self, start: int, end: int) -> Indices:
        """Return positions (end - start, 3); without images, all three are the token's index."""
        indices = np.repeat(np.arange(start, end)[:, None], 3, axis=1)
        if self.axes is None:
            return indices
        beyond = indices[max(len(self.axes) - start, 0) :] - len(self.axes) + 1 + self.axes.max()
        return np.concatenate((self.axes[start:end], beyond))

    def expired(self, now: float) -> bool:
        deadline = self.request.terms.deadline
        return deadline is not None and now - self.submitted >= deadline

    def usage(self, now: float) -> Usage:
        admitted = now if self.admitted is None else self.admitted
        first = now if self.first_token is None else self.first_token
        return Usage(
            cached=self.cached,
            computed=min(self.computed, len(self.prompt)) - self.cached,
            generated=self.generated,
            queued=admitted - self.submitted,
            prefill=first - admitted,
            decode=now - first,
            accepted=self.accepted,
            prediction=len(self.request.prediction),
        )

    def admit(self, slot: int, cached: int, now: float) -> None:
        self.slot = slot
        self.cached = self.computed = cached
        self.admitted = now
        self.deliver(Admission(cached, now - self.submitted))
        if self.request.score_from == 0 and self.ids[0] >= 0:
            self.deliver(TokenScore(self.ids[0], 0, None, None, None))

    def finish(self, reason: FinishReason, now: float, error: str | None = None) -> None:
        self.deliver(Finish(reason, self.usage(now), error=error))

    def check(self) -> None:
        assert 0 <= self.cached <= self.computed <= len(self.ids) <= self.capacity, (
            self.cached,
            self.computed,
            len(self.ids),
        )
