"""The state of a model in an engine: its slots, its queue, its caches, and totals."""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.tokens import Priority


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """A slot: how many tokens it holds, and whether a sequence holds it (then with its priority and generated tokens).

    ``cache_salt`` is that of the request whose tokens they are.
    """

    id: int
    tokens: int
    busy: bool
    priority: Priority | None = None
    generated: int = 0
    cache_salt: str = ""


@dataclass(slots=True)
class Totals:
    """Totals since the worker started, in tokens, steps and finished requests.

    ``guessed`` tokens were computed ahead, and ``right`` of them proved right.
    """

    cached: int = 0
    computed: int = 0
    generated: int = 0
    guessed: int = 0
    right: int = 0
    steps: int = 0
    finished: int = 0


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """The state of a worker at the end of a step.

    ``cache_bytes`` is the size of the tokens in the slots, and ``cache_limit`` its maximum;
    ``parked_bytes`` and ``parked_limit`` are the same for parked prefixes. ``limit`` is how many
    requests may run and wait at once.
    """

    slots: tuple[SlotStatus, ...]
    running: int
    waiting: int
    limit: int
    cache_bytes: int
    cache_limit: int
    parked_bytes: int
    parked_limit: int
    totals: Totals
