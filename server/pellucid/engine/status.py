"""The state of a model in an engine."""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.vocabulary.query import Priority


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """A slot's tokens, and the state of the sequence in the slot, if busy.

    ``cache_salt`` is the salt of the request that filled the slot.
    """

    id: int
    tokens: int
    busy: bool
    priority: Priority | None = None
    generated: int = 0
    cache_salt: str = ""


@dataclass(slots=True)
class Totals:
    """Totals since the worker started.

    ``guessed`` tokens were computed ahead; ``right`` guesses were correct.
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

    ``cache_bytes`` and ``parked_bytes`` have the maxima ``cache_limit`` and ``parked_limit``.
    ``limit`` is the maximum number of running and waiting requests.
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
