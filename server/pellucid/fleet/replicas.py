"""The replicas of a fleet: which one takes a request, and what is known of lost ones."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from hashlib import blake2b

from pellucid.errors import QueueFullError, UnavailableError
from pellucid.fleet.replica import ModelGoneError, Replica, ReplicaHangsError, ReplicaLostError, ReplicaRefusedError
from pellucid.fleet.running_request import RunningRequest

MAX_MOVES = 3
"""How often a lost answer is resumed before failure."""

PAUSE_SHARE = 0.1
"""Wait after a second failure at the same replica: a share of the patience per move."""

logger = logging.getLogger(__name__)


def by_affinity(key: str, addresses: Iterable[str]) -> list[str]:
    """Return the addresses in the key's order of preference.

    This is rendezvous hashing (Thaler and Ravishankar 1996). Adding or removing a replica changes
    the first choice of its own keys only, and fronts need no shared state.
    """
    return sorted(addresses, key=lambda address: blake2b(f"{key}\n{address}".encode(), digest_size=8).digest())


class Replicas(dict[str, Replica]):
    """The replicas by address; added and removed by ``Membership``.

    Requests wait up to ``patience`` seconds after the start or the loss of the last replica.

    Attributes:
        closing: Whether requests are refused.
        lost: Requests lost with the replica at each address, including resumed requests.
    """

    def __init__(self, patience: float) -> None:
        super().__init__()
        self.closing = False
        self.lost: Counter[str] = Counter()
        self._patience = patience
        self._made_at = time.monotonic()
        self._lost_at: dict[str, float] = {}  # When each recoverable replica was lost
        self._joined = asyncio.Event()

    def serving(self, model: str) -> list[Replica]:
        return [replica for replica in self.values() if replica.context(model) is not None]

    def note_joined(self, replica: Replica) -> None:
        self._lost_at.pop(replica.url, None)
        self._joined.set()
        self._joined = asyncio.Event()

    async def available(self, run: RunningRequest) -> Replica:
        """Return the replica for a request, or wait a limited time for a lost replica."""
        while True:
            joined = self._joined
            try:
                return self._choose(run)
            except UnavailableError:
                lost = [self._lost_at.get(replica.url, -math.inf) for replica in self.serving(run.model)]
                left = max([self._made_at, *lost]) + self._patience - time.monotonic()
                if self.closing or left <= 0:
                    raise
            with suppress(TimeoutError):
                await run.wait(asyncio.wait_for(joined.wait(), left))

    def _choose(self, run: RunningRequest) -> Replica:
        """Return the session's preferred replica, unless only another replica has room.

        Raises UnavailableError if no replica takes part, and QueueFullError if all are busy.
        """
        if self.closing:
            raise UnavailableError("The server is shutting down.")
        taking_part = {replica.url for replica in self.serving(run.model) if replica.takes_part}
        free = taking_part - run.busy
        if not taking_part:
            reasons = [f"{one.url}: {reason}" for one in self.values() if (reason := _absence(one, run.model))]
            raise UnavailableError(" ".join([f"No engine serves {run.model} now.", *reasons]))
        if not free:
            raise QueueFullError(f"All engines of {run.model} are busy: try again later.")
        preferred = [self[url] for url in by_affinity(run.session, free - run.left or free)]
        roomy = (replica for replica in preferred if replica.gate.has_room(run.request.terms.priority))
        waiting = (replica for replica in preferred if not replica.gate.is_full(run.request.terms.priority))
        return next(roomy, None) or next(waiting, preferred[0])

    async def note_lost(
        self, run: RunningRequest, replica: Replica, error: ReplicaLostError, *, is_adapter: bool
    ) -> None:
        logger.warning("%s", error)
        self.lost[replica.url] += 1
        run.moves += 1
        if isinstance(error, ModelGoneError) and is_adapter:
            replica.drop_adapter(run.model, str(error))
            replica.is_stale = True
        elif isinstance(error, ReplicaRefusedError):
            replica.take_out(str(error))
        elif isinstance(error, ReplicaHangsError) or not await run.wait(replica.is_well()):
            replica.take_out(str(error))
            self._lost_at[replica.url] = time.monotonic()

    async def leave(self, run: RunningRequest, replica: Replica, error: ReplicaLostError) -> None:
        """Prepare a lost request for another replica. Raises UnavailableError if impossible."""
        params = run.request.params
        if run.moves > MAX_MOVES:
            raise UnavailableError(f"The engines of this request failed {run.moves} times; the last one: {error}")
        if run.answer and (params.presence_penalty or params.frequency_penalty):
            raise UnavailableError(
                f"{error} An answer with a presence or frequency penalty cannot be resumed: ask again."
            )
        is_again = replica.url in run.left
        run.left.add(replica.url)
        if is_again:  # A router that has not noticed the loss yet
            await run.wait(asyncio.sleep(self._patience * PAUSE_SHARE * run.moves))

    async def disconnect(self) -> None:
        for replica in self.values():
            await replica.close()


def _absence(replica: Replica, model: str) -> str | None:
    if replica.draining:
        return "it is being removed."
    return replica.problem or replica.adapter_problems.get(model)
