"""Adding, removing and rechecking of a fleet's replicas while the fleet serves."""

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
"""Time between two checks of the list of engines and of engines that take no part."""

RECHECK_SECONDS = 60.0
"""Time between two checks of an engine that takes part, because weights may change."""

MAX_FILE_BYTES = 64 * 2**10
"""Maximum size of a file of engines."""

JOIN_SECONDS = 90.0
"""Time limit for the check of an engine.

The first request with logprobs compiles a kernel, which takes up to half a minute.
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReplicaLimits:
    """The maximum running and waiting requests of a replica, and its API key."""

    slots: int
    queue: int
    key: str | None = None


class Membership:
    """Decides which replicas take part: engines at ``addresses`` and in ``file``.

    Only files name engines, never a request, because an engine reads every prompt.
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
        """Called in order after each update."""
        self.on_new_models: Callable[[], None] = lambda: None
        """Called after a change of the models with an adapter."""
        self._joining: dict[Replica, asyncio.Task[None]] = {}  # Running checks
        self._due: dict[str, float] = {}  # Time of each engine's next check

    def replicas(self) -> list[Replica]:
        return [*self.fleet.replicas.values()]

    async def update(self, patience: float | None = None) -> None:
        """Read the list of engines, drain removed engines, and check engines that are due.

        Checks beyond ``patience`` seconds continue, so that a hanging engine does not delay the
        rest. Raises ConfigError for an unreadable list.
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
            is_due = replica.problem is not None or replica.is_stale or now > self._due.get(replica.url, 0.0)
            if is_due and replica not in self._joining:
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
                task.result()  # Raises unexpected errors.

    async def watch(self) -> None:
        while True:
            try:
                await self.update(CHECK_SECONDS)
            except ConfigError as error:
                logger.warning("%s The engines stay as they are.", error)
            except Exception:
                logger.exception("The engines could not be checked.")
            await asyncio.sleep(CHECK_SECONDS)

    async def close(self) -> None:
        for task in [*self._leaving, *self._joining.values()]:
            task.cancel()
        for replica in self.replicas():
            await replica.close()

    async def _join(self, replica: Replica) -> None:
        """Check a replica and its adapters, with enough time to compile kernels."""
        replica.is_stale = False
        try:
            async with replica.lock, asyncio.timeout(JOIN_SECONDS):
                await self._check.join(replica)
                if replica.takes_part:
                    await self.adapters.check(replica)
                    self.fleet.replicas.note_joined(replica)
        except TimeoutError:
            replica.problem = replica.problem and f"Its check took longer than {JOIN_SECONDS:g} seconds."

    async def _drain(self, replica: Replica) -> None:
        """Remove a replica after its last answer."""
        while replica.gate.running or replica.gate.waiting:
            await asyncio.sleep(CHECK_SECONDS / 20)
            if not replica.draining:
                return  # Listed again
        del self.fleet.replicas[replica.url]
        if replica in self._joining:
            self._joining[replica].cancel()
        await replica.close()


def read_engines(path: Path) -> list[str]:
    """Return the addresses in a file: one per line, # for comments. Raises ConfigError."""
    return [engine for line in read_list(path).splitlines() if (engine := engine_in(line))]


def read_list(path: Path) -> str:
    """Return the text of a file of engines, or "". Raises ConfigError."""
    try:
        return read_text(path, MAX_FILE_BYTES, ConfigError)
    except FileNotFoundError:
        return ""
    except ConfigError as error:
        raise ConfigError(f"The list of engines cannot be read: {error}") from None


def engine_in(line: str) -> str | None:
    """Return the address in a line, if any. Raises ConfigError."""
    text = line.partition("#")[0].strip()
    return engine_url(text) if text else None


def engine_url(text: str) -> str:
    """Return an address without a path. Raises ConfigError for an invalid address."""
    try:
        parts = urlsplit(text.strip())
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        has_more = bool(parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)
        httpx.URL(text.strip())
    except (ValueError, httpx.InvalidURL):  # For instance, an invalid port
        is_address = has_more = False
    if not is_address or has_more:
        shown = "one with a password" if "@" in text else repr(text[:100])
        raise ConfigError(f"An engine is an address like http://10.0.0.5:8000, not {shown}.")
    return f"{parts.scheme}://{parts.netloc}"
