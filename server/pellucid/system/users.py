"""Shares a server between its users: counts what each one uses, and limits what one may use at once and in a minute.

A request of the API belongs to the owner of its key, and one of the page to the user who has logged
in. It takes a place of its user when it first uses a model, and frees it when it ends. Requests
that use no model take none. All of this belongs to one event loop.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from pellucid.errors import QueueFullError
from pellucid.system.api_keys import LOCAL

MINUTE = 60


@dataclass(frozen=True, slots=True)
class UserLimits:
    """The most requests of one user that run or wait at once, and the tokens after which a user must wait; None: no limit."""

    requests: int | None = None
    tokens_per_minute: int | None = None


@dataclass(slots=True)
class UserTotals:
    """The requests of a user that used a model, those that a limit refused, and their tokens."""

    requests: int = 0
    refused: int = 0
    cached: int = 0
    computed: int = 0
    generated: int = 0

    @property
    def prompt(self) -> int:
        """Number of prompt tokens."""
        return self.cached + self.computed


class UserRequest:
    """A request of a user.

    ``begin`` is called before each use of a model, and the other methods as its tokens come.

    A request that was admitted is answered to its end: its further uses of models are not refused.
    """

    def __init__(self, users: Users, user: str) -> None:
        self._users = users
        self.user = user
        self.was_admitted = False
        self.was_refused = False

    @contextmanager
    def as_current(self) -> Iterator[None]:
        """Make it the current request: the tasks that are started meanwhile belong to it, and the streams of an assistant."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    @property
    def cache_salt(self) -> str:
        """The salt of what its prompts leave in a KV cache: the name of its user, unless all users share what they send."""
        return "" if self._users.share_prefixes or self.user == LOCAL else self.user

    def begin(self, key: str | None = None) -> None:
        """Take the place of the request, unless it has one.

        Raises QueueFullError for a new request that is beyond a limit.

        Earlier requests with the same ``key`` do not count for the limit, as this one supersedes
        them if it is not refused.
        """
        self._users.enter(self, key)

    def end(self) -> None:
        """Free the place of the request, if it has one."""
        self._users.leave(self)

    def end_superseded(self, key: str | None) -> None:
        """Free the place of the request if the answer that was superseded by ``key`` was its last one."""
        self._users.end_superseded(self, key)

    def read(self, cached: int, computed: int) -> None:
        """Count tokens of a prompt."""
        self._users.count(self.user, cached=cached, computed=computed)

    def generate(self) -> None:
        """Count a generated token."""
        self._users.count(self.user, generated=1)


class UncountedRequest:
    """A request of no user: one of the server itself, or of a program that uses the models in its own process."""

    cache_salt = ""

    def begin(self, key: str | None = None) -> None:
        """Take no place."""

    def end_superseded(self, key: str | None) -> None:
        """Free no place."""

    def read(self, cached: int, computed: int) -> None:
        """Count nothing."""

    def generate(self) -> None:
        """Count nothing."""


UNCOUNTED = UncountedRequest()

CurrentRequest = UserRequest | UncountedRequest

_CURRENT: ContextVar[UserRequest | None] = ContextVar("pellucid_request", default=None)


def current_request() -> CurrentRequest:
    """Return the request that the running task belongs to."""
    return _CURRENT.get() or UNCOUNTED


class Users:
    """The users of a server by their names.

    Without ``share_prefixes`` none reuses what the KV cache holds of another's prompts.
    """

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
        self._states: dict[str, _UserState] = {}

    @contextmanager
    def request(self, user: str) -> Iterator[UserRequest]:
        """Hold a request of a user while it is answered; it is the current one of this task and of those that it starts."""
        request = UserRequest(self, user)
        try:
            with request.as_current():
                yield request
        finally:
            request.end()

    def totals(self, user: str) -> UserTotals:
        """Return what a user has used since the server's start."""
        return self._state(user).totals if user in self._states else UserTotals()

    def names(self) -> set[str]:
        """Return the names of all users who have used a model, or were refused to."""
        return {name for name, state in self._states.items() if state.totals.requests or state.totals.refused}

    def enter(self, request: UserRequest, key: str | None) -> None:
        """Give a request its place; see ``UserRequest.begin``."""
        state = self._state(request.user)
        if not request.was_admitted:
            try:
                self._check(request.user, state, key)
            except QueueFullError:
                state.totals.refused += not request.was_refused  # once for a request of several answers
                request.was_refused = True
                raise
            request.was_admitted = True
            state.totals.requests += 1
        state.enter(request, key)

    def leave(self, request: UserRequest) -> None:
        """Free the place of a request; see ``UserRequest.end``."""
        self._state(request.user).leave(request)

    def end_superseded(self, request: UserRequest, key: str | None) -> None:
        """Free the place of a request whose answers have all been superseded; see ``UserRequest.end_superseded``."""
        self._state(request.user).end(request, key)

    def count(self, user: str, *, cached: int = 0, computed: int = 0, generated: int = 0) -> None:
        """Count tokens of a user."""
        state = self._state(user)
        state.totals.cached += cached
        state.totals.computed += computed
        state.totals.generated += generated
        if self._limits.tokens_per_minute is not None:
            state.minute.add(computed + generated, self._clock())

    def _check(self, user: str, state: _UserState, key: str | None) -> None:
        """Raise QueueFullError if the user must wait."""
        most, tokens = self._limits.requests, self._limits.tokens_per_minute
        if most is not None and sum(key is None or key not in keys for keys in state.places.values()) >= most:
            raise QueueFullError(
                f"{user} already has {most} requests that run or wait, the limit of user_requests: wait until one has ended."
            )
        if tokens is None:
            return
        wait = math.ceil(state.minute.wait(tokens, self._clock()))
        if wait:
            raise QueueFullError(
                f"{user} has used {tokens} tokens within a minute, the limit of user_tokens_per_minute: try again in {wait} seconds.",
                wait,
            )

    def _state(self, user: str) -> _UserState:
        return self._states.setdefault(user, _UserState())


class _SlidingMinute:
    """The tokens of the last minute.

    Those of one second are kept together, so that they count up to a second longer.
    """

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque()  # [second, tokens]

    def add(self, tokens: int, now: float) -> None:
        """Count tokens, or with a negative number take back some that were counted too many."""
        self._forget(now)
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1][1] += tokens
        else:
            self._seconds.append([second, tokens])

    def wait(self, limit: int, now: float) -> float:
        """Return the seconds until fewer tokens than the limit are left."""
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
class _UserState:
    """The use of one user, and the requests that have a place, with the keys by which newer ones supersede their answers."""

    totals: UserTotals = field(default_factory=UserTotals)
    minute: _SlidingMinute = field(default_factory=_SlidingMinute)
    places: dict[UserRequest, set[str]] = field(default_factory=dict)

    def enter(self, request: UserRequest, key: str | None) -> None:
        """Give a request a place."""
        keys = self.places.setdefault(request, set())
        if key is not None:
            keys.add(key)

    def end(self, request: UserRequest, key: str | None) -> None:
        """Note that the answer with a key has ended, and free the place if it was the last one."""
        keys = self.places.get(request, set())
        keys.discard(key or "")
        if not keys:
            self.leave(request)

    def leave(self, request: UserRequest) -> None:
        """Free the place of a request, if it has one."""
        self.places.pop(request, None)
