"""Runs stand-in replicas on separate ports, and fleets over the replicas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.fleet.fleet import Fleet
from pellucid.fleet.join_check import PROBE, JoinCheck
from pellucid.fleet.membership import Membership, ReplicaLimits
from pellucid.models.tokenizers.tokenizer import Tokenizer
from support.fleet.stand_in_replica import StandInReplica, listening
from support.models.tiny_models import tiny_llama, to_decoder
from support.servers.http_servers import TINY, byte_tokenizer

CONTEXT = 1024


def tiny_engine(seed: int = 0) -> LocalEngine:
    """Return an engine of a tiny random model of bytes."""
    decoder = to_decoder(tiny_llama(seed, vocab_size=byte_tokenizer().vocab_size, max_position_embeddings=2048))
    return LocalEngine({TINY: decoder}, EngineSettings(slots=8, context=CONTEXT, chunk=64))


def replica_of(engine: LocalEngine, chunk: int = 1) -> StandInReplica:
    """Return a replica of an engine."""
    return StandInReplica(engine, {TINY: byte_tokenizer()}, chunk=chunk)


@dataclass
class FleetOfStandIns:
    """A fleet, the members, and the check for joining."""

    fleet: Fleet
    check: JoinCheck
    members: Membership

    @property
    def problems(self) -> list[str | None]:
        """The problem of each replica; None for a member without problems."""
        return [replica.problem for replica in self.fleet.replicas.values()]


@asynccontextmanager
async def fleet_of(
    replicas: Sequence[StandInReplica],
    slots: int = 8,
    queue: int = 64,
    key: str | None = None,
    tokenizer: Tokenizer | None = None,
    patience: float = 0.0,
) -> AsyncIterator[FleetOfStandIns]:
    """Serve replicas, and yield a fleet of the accepted replicas."""
    tokenizer = tokenizer or byte_tokenizer()
    with ExitStack() as servers:
        urls = [servers.enter_context(listening(replica)) for replica in replicas]
        fleet = Fleet({TINY: tokenizer.vocab_size}, CONTEXT, patience)
        check = JoinCheck({TINY: tokenizer.encode(PROBE)}, {TINY: tokenizer.vocab_size})
        members = Membership(fleet, check, ReplicaLimits(slots, queue, key), urls)
        await members.update()
        for stand_in in replicas:
            stand_in.bodies.clear()
            stand_in.sessions.clear()
        try:
            yield FleetOfStandIns(fleet, check, members)
        finally:
            fleet.close()
            await fleet.replicas.disconnect()


async def wait_for_the_test(event: asyncio.Event, sent: int) -> None:
    """Wait with the third token.

    The event belongs to a different loop, so the event is only polled.
    """
    while sent == 2 and not event.is_set():
        await asyncio.sleep(0.01)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)
