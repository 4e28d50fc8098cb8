"""The KV cache: contiguous slots, and the search for a reusable prefix.

The slot of an ended sequence is a donor until the space is needed; the content is then parked. A
new prompt continues in a donor's slot if little is lost. Otherwise the common prefix is copied into
another slot, which is cheap compared with computing the prefix.
"""

from __future__ import annotations

from collections.abc import Sequence as IdSequence
from dataclasses import dataclass

import numpy as np

from pellucid.engine.kv_cache.kv_snapshot import Ids, KVSnapshot, common_prefix
from pellucid.engine.kv_cache.parked_prefixes import ParkedPrefixes, continues_in_place
from pellucid.engine.kv_cache.state_buffers import StateBuffers
from pellucid.engine.model import CacheShape, KVStorage

MIN_GAIN_TOKENS = 16
"""Minimum number of tokens that a parked prefix must save over the best slot.

Copying a thousand tokens out and in takes 5 ms, the time to compute five tokens.
"""


@dataclass(frozen=True, slots=True)
class Match:
    """The longest common prefix: ``length`` tokens of ``slot``, or of a ``parked`` prefix.

    ``cache_salt`` is the salt of the request and of the acquired slot.
    """

    slot: int
    length: int
    parked: KVSnapshot | None = None
    cache_salt: str = ""


class SlotCache:
    """Slots of ``capacity`` tokens. A slot is held by one sequence, or is free and a donor.

    Prefixes lost by donors are parked in up to ``prefix_memory`` bytes, but not the prefixes of a
    model with ``states``.
    """

    def __init__(
        self,
        storage: KVStorage,
        shape: CacheShape,
        slots: int,
        capacity: int,
        prefix_memory: int = 0,
        states: StateBuffers | None = None,
    ) -> None:
        self.storage = storage
        self.states = states
        self.parked = ParkedPrefixes(shape, 0)
        self.resize_parked(prefix_memory)
        self.slots = slots
        self.capacity = capacity
        self._shape = shape
        self._ids: Ids = np.zeros((slots, capacity), dtype=np.int64)
        self._lengths = [0] * slots
        self._salts = [""] * slots
        self._held = [False] * slots
        self._used = [0] * slots  # Release number of the last use.
        self._clock = 0

    @property
    def free(self) -> int:
        return self._held.count(False)

    @property
    def bytes(self) -> int:
        """The size of all keys and values, and of all states."""
        states = self.states.used if self.states is not None else 0
        return sum(self._lengths) * self._shape.bytes_per_token + states * self._shape.state_bytes

    @property
    def limit(self) -> int:
        states = self.states.count if self.states is not None else 0
        return self.slots * self.capacity * self._shape.bytes_per_token + states * self._shape.state_bytes

    def length(self, slot: int) -> int:
        return self._lengths[slot]

    def cache_salt(self, slot: int) -> str:
        return self._salts[slot]

    def resize_parked(self, budget: int) -> None:
        """Bound the bytes of parked prefixes."""
        self.parked.resize(0 if self.states else budget)

    def match(self, ids: Ids, cache_salt: str = "") -> Match:
        """Return the slot with the longest prefix in common with ``ids``, or a longer parked one.

        Only entries with the same ``cache_salt`` match. With states, the prefix ends at a state. A
        linear search takes microseconds.
        """
        best = Match(slot=0, length=0, cache_salt=cache_salt)
        for slot in range(self.slots):
            length = (
                common_prefix(self._ids[slot, : self._lengths[slot]], ids) if self._salts[slot] == cache_salt else 0
            )
            if self.states is not None:
                length = self.states.longest(slot, length)
            # Prefer a free slot among equals: only a free slot may be continued in place.
            if length > best.length or (length == best.length and self._held[best.slot] and not self._held[slot]):
                best = Match(slot, length, cache_salt=cache_salt)
        parked = self.parked.match(ids, cache_salt, best.length + MIN_GAIN_TOKENS)
        return best if parked is None else Match(best.slot, parked[1], parked[0], cache_salt)

    def reusable(self, common: int, prompt: int) -> int:
        """Return how many of the first ``common`` tokens of a computed prompt can be reused.

        ``prompt`` is the length of the prompt.
        """
        return common if self.states is None else self.states.kept_within(common, prompt)

    def acquire(self, match: Match) -> int:
        """Take a free slot and fill in the matched tokens. A slot must be free."""
        slot = self._choose(match)
        if match.parked is not None:
            self.parked.take(match.parked, match.length)  # First: taking may make room for the next parked prefix.
        if match.parked is not None or slot != match.slot or not continues_in_place(self._lengths[slot], match.length):
            self._park(slot, match)
        if match.parked is not None:
            match.parked.restore(self.storage, slot, match.length)
        elif match.length and slot != match.slot:
            self.storage.copy(match.slot, slot, match.length)
        self._ids[slot, : match.length] = self._matched(match)
        if self.states is not None:
            self.states.continue_from(slot, match.slot, match.length)
        self._lengths[slot] = match.length
        self._salts[slot] = match.cache_salt
        self._held[slot] = True
        return slot

    def extend(self, slot: int, ids: IdSequence[int]) -> None:
        length = self._lengths[slot]
        self._ids[slot, length : length + len(ids)] = ids
        self._lengths[slot] = length + len(ids)

    def end_step(self, slot: int, start: int, length: int) -> int:
        """Forget what follows the last state within ``length`` tokens, after a step from ``start``.

        Return the new length, which is ``length`` without states.
        """
        if self.states is not None:
            length = self.states.end_step(slot, start, length)
        self._lengths[slot] = min(self._lengths[slot], length)
        return length

    def begin_step(self) -> None:
        if self.states is not None:
            self.states.begin_step({slot: self._lengths[slot] for slot in range(self.slots) if self._held[slot]})

    def release(self, slot: int) -> None:
        """Free a slot; the content stays reusable."""
        self._held[slot] = False
        self._clock += 1
        self._used[slot] = self._clock

    def forget(self, slot: int) -> None:
        """Empty a slot with unreliable content, after a failed step."""
        self._lengths[slot] = 0
        if self.states is not None:
            self.states.forget(slot)

    def park_all(self) -> None:
        """Park the content of all slots in order of use. No sequence may be running."""
        for slot in sorted(range(self.slots), key=lambda slot: self._used[slot]):
            self._park(slot, Match(slot, 0, cache_salt=self._salts[slot]))

    def check(self, holders: IdSequence[int]) -> None:
        """Assert that exactly the slots in ``holders`` are held, and all lengths are possible."""
        held = [slot for slot in range(self.slots) if self._held[slot]]
        assert sorted(holders) == held, f"slots {held} are held, sequences are in {sorted(holders)}"
        assert all(0 <= length <= self.capacity for length in self._lengths), f"impossible lengths {self._lengths}"
        self.parked.check()
        if self.states is not None:
            self.states.check()
            assert all(self.states.longest(slot, self._lengths[slot]) == self._lengths[slot] for slot in held)

    def _matched(self, match: Match) -> Ids:
        return (self._ids[match.slot] if match.parked is None else match.parked.ids)[: match.length]

    def _park(self, slot: int, match: Match) -> None:
        held, salt = self._ids[slot, : self._lengths[slot]], self._salts[slot]
        kept = common_prefix(held, self._matched(match)) if salt == match.cache_salt else 0
        self.parked.park(self.storage, slot, held, salt, kept)

    def _choose(self, match: Match) -> int:
        free = [slot for slot in range(self.slots) if not self._held[slot]]
        assert free, "a slot was acquired while none is free"
        donor = match.slot if match.length and match.parked is None else None
        if donor in free and continues_in_place(self._lengths[match.slot], match.length):
            return match.slot
        others = [slot for slot in free if slot != donor]
        return min(others or free, key=lambda slot: (self._lengths[slot] > 0, self._used[slot]))
