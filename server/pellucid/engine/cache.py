"""The KV cache: contiguous slots, what each of them holds, and which of them can lend its beginning to a new prompt.

A slot whose sequence has ended stays as a donor until its space is needed. A new prompt continues in the donor's slot
when that loses little, else the common prefix is copied into another slot, which is cheap beside computing it.
"""

from __future__ import annotations

from collections.abc import Sequence as IdSequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pellucid.engine.model import CacheShape, KVStorage

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Match:
    """The longest common prefix found: ``length`` tokens at the beginning of ``slot``."""

    slot: int
    length: int


class SlotCache:
    """Slots of ``capacity`` tokens each. A slot is either held by one sequence or free, a donor then."""

    def __init__(self, shape: CacheShape, slots: int, capacity: int) -> None:
        size = (slots, shape.kv_heads, capacity, shape.head_dim)
        # Memory is only touched where tokens are written: an operating system backs the rest with nothing.
        self.storage = KVStorage(
            [torch.empty(size, dtype=shape.dtype, device=shape.device) for _ in range(shape.layers)],
            [torch.empty(size, dtype=shape.dtype, device=shape.device) for _ in range(shape.layers)],
        )
        self.slots = slots
        self.capacity = capacity
        self.bytes_per_token = shape.bytes_per_token
        self._ids: Ids = np.zeros((slots, capacity), dtype=np.int64)
        self._lengths = [0] * slots
        self._held = [False] * slots
        self._used = [0] * slots  # when last released, counted in releases
        self._clock = 0

    @property
    def free(self) -> int:
        """How many slots no sequence holds."""
        return self._held.count(False)

    def length(self, slot: int) -> int:
        """How many tokens of a slot are valid."""
        return self._lengths[slot]

    def held(self, slot: int) -> bool:
        """Whether a sequence works in this slot."""
        return self._held[slot]

    def match(self, ids: Ids) -> Match:
        """The slot, free or held, that has the longest prefix in common with ``ids``.

        All slots are compared, which takes microseconds for the few that fit a machine and needs no tree to keep right.
        """
        best = Match(slot=0, length=0)
        for slot in range(self.slots):
            length = common_prefix(self._ids[slot, : self._lengths[slot]], ids)
            # Of equals a free slot is better: it may be continued in place.
            if length > best.length or (length == best.length and self._held[best.slot] and not self._held[slot]):
                best = Match(slot, length)
        return best

    def acquire(self, match: Match) -> int:
        """Take a free slot whose first ``match.length`` tokens are the matched ones; there must be a free slot."""
        slot = self._choose(match)
        if slot != match.slot and match.length:
            for tensor in (*self.storage.keys, *self.storage.values):
                tensor[slot, :, : match.length] = tensor[match.slot, :, : match.length]
            self._ids[slot, : match.length] = self._ids[match.slot, : match.length]
        self._lengths[slot] = match.length
        self._held[slot] = True
        return slot

    def extend(self, slot: int, ids: IdSequence[int]) -> None:
        """Note that the keys and values of these tokens were written behind what the slot holds."""
        length = self._lengths[slot]
        self._ids[slot, length : length + len(ids)] = ids
        self._lengths[slot] = length + len(ids)

    def release(self, slot: int) -> None:
        """Let a slot go; what it holds stays for others to continue."""
        self._held[slot] = False
        self._clock += 1
        self._used[slot] = self._clock

    def forget(self, slot: int) -> None:
        """Empty a slot whose content cannot be trusted (a step failed while writing it)."""
        self._lengths[slot] = 0

    def check(self, holders: IdSequence[int]) -> None:
        """Assert that exactly the slots in ``holders`` are held, each once, and that no length is impossible."""
        held = [slot for slot in range(self.slots) if self._held[slot]]
        assert sorted(holders) == held, f"slots {held} are held, sequences are in {sorted(holders)}"
        assert all(0 <= length <= self.capacity for length in self._lengths), f"impossible lengths {self._lengths}"

    def _choose(self, match: Match) -> int:
        free = [slot for slot in range(self.slots) if not self._held[slot]]
        assert free, "a slot was acquired while none is free"
        # In place when at least half of the donor lives on; else its tail may still serve the conversation it belongs to.
        if match.slot in free and 0 < self._lengths[match.slot] <= 2 * match.length:
            return match.slot
        others = [slot for slot in free if slot != match.slot or not match.length]
        return min(others or free, key=lambda slot: (self._lengths[slot] > 0, self._used[slot]))


def common_prefix(a: Ids, b: Ids) -> int:
    """How many tokens two sequences have in common from the start."""
    length = min(len(a), len(b))
    differs = a[:length] != b[:length]
    return int(differs.argmax()) if differs.any() else length
