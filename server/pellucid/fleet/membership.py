"""Adds replicas to a fleet and takes them out while it serves, and lets lost ones join again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from pellucid.errors import ConfigError
from pellucid.fleet.admission import Gate
from pellucid.fleet.fleet import Fleet
from pellucid.fleet.join_check import JoinCheck
from pellucid.fleet.lora_adapters import LoraAdapters
from pellucid.fleet.replica import Replica
from pellucid.system.regular_files import read_text

CHECK_SECONDS = 2.0
"""Time between two looks at the list of engines and at those that take no part."""

RECHECK_SECONDS = 60.0
"""Time between two checks of an engine that takes part: it may have been started again with other
weights.
"""

MAX_FILE_BYTES = 64 * 2**10
"""Size of a file of engines."""

JOIN_SECONDS = 90.0
"""Time limit for the check of an engine.
Its first request with logprobs compiles a kernel, which takes up to half a minute.
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReplicaLimits:
    """The requests that a replica gets at once, how many more may wait for it, and the key that it asks for."""

    slots: int
    queue: int
    key: str | None = None


class Membership:
    """Decides which replicas take part in a fleet: those at ``addresses``, and those that ``file`` lists.

    Only files name engines, never a request: an engine reads every prompt.
    """

    def __init__(
        self, fleet: Fleet, check: JoinCheck, limits: ReplicaLimits, addresses: Sequence[str], file: Path | None = None
    ) -> None:
        self.fleet = fleet
        self._check = check
        self._limits = limits
        self._addresses = [engine_url(address) for address in addresses]
        self._file = file
        self._leaving: set[asyncio.Task[None]] = set()
        self.adapters = LoraAdapters(fleet, check)
        self.on_update: list[Callable[[], Awaitable[None]]] = []
        """Called after each update, one after the other."""
        self.on_new_models: Callable[[], None] = lambda: None
        """Called when models with an adapter have come or gone."""
        self._joining: dict[Replica, asyncio.Task[None]] = {}  # the checks under way
        self._due: dict[str, float] = {}  # when each engine is to be checked again

    def replicas(self) -> list[Replica]:
        """Return all replicas, also those that take no part."""
        return [*self.fleet.replicas.values()]

    async def update(self, patience: float | None = None) -> None:
        """Read the list of engines, drain those that it no longer has, and check those that take no part, and now and then the others.

        Checks that take longer than ``patience`` seconds continue, so that an engine that hangs
        does not delay the others. Raises ConfigError for a list that cannot be read.
        """
        more = [] if self._file is None else await asyncio.to_thread(read_engines, self._file)
        listed = dict.fromkeys([*self._addresses, *more])
        for url in listed:
            if url not in self.fleet.replicas:
                self.fleet.replicas[url] = Replica(url, Gate(self._limits.slots, self._limits.queue), self._limits.key)
        for replica in self.replicas():
            if replica.url not in listed and not replica.draining:
                leaving = asyncio.ensure_future(self._drain(replica))
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)
            replica.draining = replica.url not in listed
        self._check.voters = [self.fleet.replicas[url] for url in listed]
        now = time.monotonic()
        for replica in self._check.voters:
            if replica not in self._joining and self._is_due(replica, now):
                self._due[replica.url] = now + RECHECK_SECONDS
                self._joining[replica] = asyncio.ensure_future(self._join(replica))
        if self._joining:
            await asyncio.wait(self._joining.values(), timeout=patience)
        ended = [(replica, task) for replica, task in self._joining.items() if task.done()]
        for replica, _ in ended:
            del self._joining[replica]
        for call in self.on_update:
            await call()
        for _, task in ended:
            if not task.cancelled():
                task.result()  # raises what nothing expected

    async def watch(self) -> None:
        """Update again and again, until this is cancelled."""
        while True:
            try:
                await self.update(CHECK_SECONDS)
            except ConfigError as error:
                logger.warning("%s The engines stay as they are.", error)
            except Exception:
                logger.exception("The engines could not be checked.")
            await asyncio.sleep(CHECK_SECONDS)

    async def close(self) -> None:
        """Stop draining and checking, and close all connections."""
        for task in [*self._leaving, *self._joining.values()]:
            task.cancel()
        for replica in self.replicas():
            await replica.close()

    def _is_due(self, replica: Replica, now: float) -> bool:
        return replica.problem is not None or replica.is_stale or now > self._due.get(replica.url, 0.0)

    async def _join(self, replica: Replica) -> None:
        """Check a replica and its adapters, but not for longer than an engine takes that compiles its kernels."""
        replica.is_stale = False
        try:
            async with replica.lock, asyncio.timeout(JOIN_SECONDS):
                await self._check.join(replica)
                if replica.takes_part:
                    await self.adapters.check(replica)
                    self.fleet.note_joined(replica)
        except TimeoutError:
            replica.problem = replica.problem and f"Its check took longer than {JOIN_SECONDS:g} seconds."

    async def _drain(self, replica: Replica) -> None:
        """Take a replica out once its answers have ended."""
        while replica.gate.running or replica.gate.waiting:
            await asyncio.sleep(CHECK_SECONDS / 20)
            if not replica.draining:
                return  # it is listed again
        del self.fleet.replicas[replica.url]
        if replica in self._joining:
            self._joining[replica].cancel()
        await replica.close()


def read_engines(path: Path) -> list[str]:
    """Return the addresses in a file, one in each line; a # begins a comment.

    Raises ConfigError.
    """
    return [engine for line in read_list(path).splitlines() if (engine := engine_in(line))]


def read_list(path: Path) -> str:
    """Return the text of a file of engines; empty if there is none. Raises ConfigError."""
    try:
        return read_text(path, MAX_FILE_BYTES, ConfigError)
    except FileNotFoundError:
        return ""
    except ConfigError as error:
        raise ConfigError(f"The list of engines cannot be read: {error}") from None


def engine_in(line: str) -> str | None:
    """Return the address in a line of a file of engines, or None.

    Raises ConfigError for what is not one.
    """
    text = line.partition("#")[0].strip()
    return engine_url(text) if text else None


def engine_url(text: str) -> str:
    """Return an address without a path. Raises ConfigError for what is not one."""
    try:
        parts = urlsplit(text.strip())
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        has_more = bool(parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)
        httpx.URL(text.strip())
    except (ValueError, httpx.InvalidURL):  # such as a port that is not a number
        is_address = has_more = False
    if not is_address or has_more:
        shown = "one with a password" if "@" in text else repr(text[:100])
        raise ConfigError(f"An engine is an address like http://10.0.0.5:8000, not {shown}.")
    return f"{parts.scheme}://{parts.netloc}"
