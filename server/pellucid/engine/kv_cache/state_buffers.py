"""The states of recurrent layers: kept at chosen positions, since a state cannot be rewound.

A state holds what recurrent layers keep of a text's beginning. A step reads a buffer and writes new
buffers, so older states stay valid: a prefix is reused from the longest kept state, and rejected
guesses are forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from pellucid.engine.model import NO_STATE, CacheShape

TAILS = (1, 4, 16)
"""Tokens before the end of a prompt where states are kept.

The same prompt again computes the last token; typing changes the last few tokens.
"""

MIN_INTERVAL, MAX_INTERVAL = 16, 256
"""Bounds of the tokens between two kept states; see :func:`interval_of`."""

_PER_SLOT = 3
"""Buffers that a step needs for a slot: the state before, and the ends with and without guesses."""

_LEAST_KEPT = 4


def interval_of(shape: CacheShape) -> int:
    """Return the tokens between kept states: as many as have keys and values of the same size."""
    return min(max(shape.state_bytes // shape.bytes_per_token, MIN_INTERVAL), MAX_INTERVAL)


def buffers_of(shape: CacheShape, slots: int, memory: int) -> int:
    """Return the number of buffers: for a step of all slots, and ``memory`` bytes to keep."""
    return _PER_SLOT * slots + max(memory // shape.state_bytes, _LEAST_KEPT) if shape.state_size else 0


@dataclass(eq=False, slots=True)
class _Buffer:
    """A state of ``position`` tokens in the texts of ``slots``, in buffer ``number``."""

    number: int
    position: int
    used: int
    is_kept: bool
    slots: set[int] = field(default_factory=set)


class StateBuffers:
    """Buffers with states of several slots. The least recently used is overwritten.

    ``interval`` is the distance of kept states.
    """

    def __init__(self, count: int, slots: int, interval: int) -> None:
        self.count = count
        self.interval = interval
        self._free = list(range(count))
        self._of_slot: list[dict[int, _Buffer]] = [{} for _ in range(slots)]  # By position.
        self._recent: dict[_Buffer, None] = {}  # All buffers with a state, least recently used first.
        self._clock = 0

    @property
    def used(self) -> int:
        """The number of buffers with a state."""
        return len(self._recent)

    def longest(self, slot: int, length: int) -> int:
        """Return the position of the last state within the first ``length`` tokens, or 0."""
        return max((position for position in self._of_slot[slot] if position <= length), default=0)

    def kept_within(self, length: int, prompt: int) -> int:
        """Return the last position within ``length`` where a prompt so long keeps a state."""
        tails = (prompt - tail for tail in TAILS if prompt - tail <= length)
        return max(length // self.interval * self.interval, *tails, 0)

    def continue_from(self, slot: int, source: int, length: int) -> None:
        """Give a slot the states of the first ``length`` tokens of ``source``."""
        self._clock += 1
        kept = {position: buffer for position, buffer in self._of_slot[source].items() if position <= length}
        for position in set(self._of_slot[slot]) - set(kept):
            self._drop(slot, position)
        for position, buffer in kept.items():
            if self._of_slot[slot].get(position) is not buffer:
                self._drop(slot, position)
                self._put(slot, buffer)
            self._use(buffer)

    def forget(self, slot: int) -> None:
        self.continue_from(slot, slot, 0)

    def begin_step(self, positions: Mapping[int, int]) -> None:
        """Protect the states at ``positions`` of slots from being overwritten in the next step."""
        self._clock += 1
        for slot, position in positions.items():
            if position:
                self._use(self._of_slot[slot][position])

    def stretches(self, slot: int, start: int, ends: Sequence[int], prompt: int) -> Iterator[tuple[int, int, int]]:
        """Yield the stretches of a step from ``start`` on: the end, the buffers read and written.

        Stretches end at ``ends``, and where a state is kept before the first end. ``prompt`` is the
        length of the prompt. States are not kept at the cost of the states that a step needs.
        """
        before = self._of_slot[slot][start].number if start else NO_STATE
        kept = [position for position in range(start + 1, ends[0]) if self._is_kept(position, prompt)]
        needed = takewhile(lambda buffer: buffer.used == self._clock, reversed(self._recent))
        room = self.count - sum(1 for _ in needed)
        kept = kept[max(len(kept) - room + (_PER_SLOT - 1) * len(self._of_slot), 0) :]
        for position in (*kept, *ends):
            buffer = _Buffer(self._take(), position, self._clock, self._is_kept(position, prompt))
            self._put(slot, buffer)
            self._use(buffer)
            yield position, before, buffer.number
            before = buffer.number

    def end_step(self, slot: int, start: int, length: int) -> int:
        """Drop states of a slot that no request will use, after a step from ``start``.

        These are states after ``length`` tokens, and passed states that are not kept. Returns the
        position of the last state.
        """
        for position in [p for p in self._of_slot[slot] if p > length]:
            self._drop(slot, position)
        last = self.longest(slot, length)
        for position in [p for p, buffer in self._of_slot[slot].items() if start <= p < last and not buffer.is_kept]:
            self._drop(slot, position)
        return last

    def check(self) -> None:
        assert set(self._recent) == {buffer for held in self._of_slot for buffer in held.values()}
        numbers = [buffer.number for buffer in self._recent]
        assert len(set(numbers)) == len(numbers), "two states are in the same buffer"
        assert sorted(numbers + self._free) == list(range(self.count)), "a buffer of states is lost"

    def _use(self, buffer: _Buffer) -> None:
        buffer.used = self._clock
        self._recent.pop(buffer, None)
        self._recent[buffer] = None

    def _is_kept(self, position: int, prompt: int) -> bool:
        return position % self.interval == 0 or prompt - position in TAILS

    def _put(self, slot: int, buffer: _Buffer) -> None:
        self._of_slot[slot][buffer.position] = buffer
        buffer.slots.add(slot)

    def _drop(self, slot: int, position: int) -> None:
        buffer = self._of_slot[slot].pop(position, None)
        if buffer is not None:
            buffer.slots.remove(slot)
            if not buffer.slots:
                del self._recent[buffer]
                self._free.append(buffer.number)

    def _take(self) -> int:
        """Return a free buffer, or the least recently used."""
        if not self._free:
            oldest = next(iter(self._recent))
            assert oldest.used < self._clock, "a step needs more states than there are buffers"
            for slot in tuple(oldest.slots):
                self._drop(slot, oldest.position)
        return self._free.pop()
