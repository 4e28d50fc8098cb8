"""Usage counts and limits of a server's users, for a single event loop.

An API request belongs to the owner of its key, and a request of the page to the logged-in user. A
request takes a place of the user with its first use of a model until its end.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from pellucid.door.api_keys import LOCAL
from pellucid.errors import QueueFullError

MINUTE = 60


@dataclass(frozen=True, slots=True)
class UserLimits:
    """Limits of a user; None: no limit."""

    requests: int | None = None
    tokens_per_minute: int | None = None


@dataclass(slots=True)
class UserTotals:
    """Usage of a user in requests (with a model, or refused) and tokens."""

    requests: int = 0
    refused: int = 0
    cached: int = 0
    computed: int = 0
    generated: int = 0

    @property
    def prompt(self) -> int:
        return self.cached + self.computed


class UserRequest:
    """A request of a user.

    ``begin`` is called before each use of a model. An admitted request is answered to its end:
    further uses of models are never refused.
    """

    def __init__(self, users: Users, user: str) -> None:
        self._users = users
        self.user = user
        self.was_admitted = False
        self.was_refused = False
        self._kept: dict[object, Callable[[], None]] = {}

    @contextmanager
    def as_current(self) -> Iterator[None]:
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    @property
    def cache_salt(self) -> str:
        """The KV cache's salt: the user's name, unless all users share prefixes."""
        return "" if self._users.share_prefixes or self.user == LOCAL else self.user

    def begin(self, key: str | None = None) -> None:
        """Take the place of the request, unless it has a place.

        Earlier requests with the same ``key`` do not count, because this request supersedes them.
        Raises QueueFullError for a new request beyond a limit.
        """
        state = self._users.state(self.user)
        if not self.was_admitted:
            try:
                self._users.check(self.user, key)
            except QueueFullError:
                state.totals.refused += not self.was_refused  # Once for a request with several answers.
                self.was_refused = True
                raise
            self.was_admitted = True
            state.totals.requests += 1
        keys = state.places.setdefault(self, set())
        if key is not None:
            keys.add(key)

    def keep(self, thing: object, release: Callable[[], None]) -> None:
        """Keep a thing, once, and call ``release`` at the end of the request."""
        if self._kept.setdefault(thing, release) is not release:
            release()

    def end(self) -> None:
        self._users.state(self.user).places.pop(self, None)
        while self._kept:
            self._kept.popitem()[1]()

    def end_superseded(self, key: str | None) -> None:
        """Free the place of the request if the superseded answer was its last answer."""
        keys = self._users.state(self.user).places.get(self, set())
        keys.discard(key or "")
        if not keys:
            self.end()

    def count(self, *, cached: int = 0, computed: int = 0, generated: int = 0) -> None:
        """Count tokens of the prompt and of the answer; a negative number corrects the count."""
        self._users.count(self.user, cached=cached, computed=computed, generated=generated)


class UncountedRequest:
    """A request of the server itself, or of a program with its own models."""

    cache_salt = ""

    def begin(self, key: str | None = None) -> None:
        """Take no place."""

    def keep(self, thing: object, release: Callable[[], None]) -> None:
        """Keep nothing: release the thing at once."""
        release()

    def end_superseded(self, key: str | None) -> None:
        """Free no place."""

    def count(self, *, cached: int = 0, computed: int = 0, generated: int = 0) -> None:
        """Count nothing."""


UNCOUNTED = UncountedRequest()

CurrentRequest = UserRequest | UncountedRequest

_CURRENT: ContextVar[UserRequest | None] = ContextVar("pellucid_request", default=None)


def current_request() -> CurrentRequest:
    return _CURRENT.get() or UNCOUNTED


class Users:
    """The users of a server; ``share_prefixes`` permits reuse of a different user's KV cache."""

    def __init__(
        self,
        limits: UserLimits = UserLimits(),
        clock: Callable[[], float] = time.monotonic,
        *,
        share_prefixes: bool = False,
    ) -> None:
        self._limits = limits
        self.share_prefixes = share_prefixes
        self._clock = clock
        self._states: dict[str, UserState] = {}

    @contextmanager
    def request(self, user: str) -> Iterator[UserRequest]:
        request = UserRequest(self, user)
        try:
            with request.as_current():
                yield request
        finally:
            request.end()

    def totals(self, user: str) -> UserTotals:
        return self.state(user).totals if user in self._states else UserTotals()

    def names(self) -> set[str]:
        return {name for name, state in self._states.items() if state.totals.requests or state.totals.refused}

    def count(self, user: str, *, cached: int = 0, computed: int = 0, generated: int = 0) -> None:
        state = self.state(user)
        state.totals.cached += cached
        state.totals.computed += computed
        state.totals.generated += generated
        if self._limits.tokens_per_minute is not None:
            state.minute.add(computed + generated, self._clock())

    def check(self, user: str, key: str | None) -> None:
        state = self.state(user)
        most, tokens = self._limits.requests, self._limits.tokens_per_minute
        if most is not None and sum(key is None or key not in keys for keys in state.places.values()) >= most:
            raise QueueFullError(
                f"{user} already has {most} requests that run or wait, the limit of user_requests: wait until one "
                "has ended."
            )
        if tokens is None:
            return
        wait = math.ceil(state.minute.wait(tokens, self._clock()))
        if wait:
            raise QueueFullError(
                f"{user} has used {tokens} tokens within a minute, the limit of user_tokens_per_minute: try again in "
                f"{wait} seconds.",
                wait,
            )

    def state(self, user: str) -> UserState:
        return self._states.setdefault(user, UserState())


class _SlidingMinute:
    """The tokens of the last minute, in seconds: a token counts up to a second longer."""

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque()  # [second, tokens]

    def add(self, tokens: int, now: float) -> None:
        """Count tokens; a negative number corrects an earlier count."""
        self._forget(now)
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1][1] += tokens
        else:
            self._seconds.append([second, tokens])

    def wait(self, limit: int, now: float) -> float:
        self._forget(now)
        left = sum(tokens for _, tokens in self._seconds)
        wait = 0.0
        for second, tokens in self._seconds:
            if left < limit:
                break
            left -= tokens
            wait = second + MINUTE + 1 - now
        return wait

    def _forget(self, now: float) -> None:
        while self._seconds and self._seconds[0][0] + MINUTE + 1 <= now:
            self._seconds.popleft()


@dataclass(slots=True)
class UserState:
    """The usage of a user, and the requests with a place, with the keys of their answers."""

    totals: UserTotals = field(default_factory=UserTotals)
    minute: _SlidingMinute = field(default_factory=_SlidingMinute)
    places: dict[UserRequest, set[str]] = field(default_factory=dict)
