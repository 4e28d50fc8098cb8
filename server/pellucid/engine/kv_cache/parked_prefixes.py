"""Host memory for prefixes that lost their slot.

Copying a thousand tokens back costs about a thousandth of computing them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Protocol

from pellucid.engine.kv_cache.kv_snapshot import Ids, KVSnapshot, common_prefix, copy_slot
from pellucid.engine.model import CacheShape, KVStorage

MIN_PARKED_TOKENS = 32
"""Minimum number of tokens to park; fewer tokens are computed with the next token in one step."""

logger = logging.getLogger(__name__)


class SavedPrefixes(Protocol):
    """A store in which parked prefixes outlive the process."""

    def read(self) -> list[KVSnapshot]:
        """Return the prefixes, most recently used first. Contents may be loaded later."""
        ...

    def write(self, prefixes: Sequence[KVSnapshot]) -> None:
        """Replace the saved prefixes. Never raises: an unsaved prefix is computed again."""
        ...


class ParkedPrefixes:
    """An LRU cache of the parked prefixes of one model, at most ``budget`` bytes."""

    def __init__(self, shape: CacheShape, budget: int) -> None:
        self.budget = budget
        self.bytes = 0
        self.changed = False
        """True if different from the saved prefixes."""
        self._shape = shape
        self._prefixes: list[KVSnapshot] = []  # Least recently used first.

    @property
    def newest_first(self) -> list[KVSnapshot]:
        return self._prefixes[::-1]

    def fill(self, newest_first: Iterable[KVSnapshot]) -> None:
        for prefix in newest_first:
            if self.bytes + prefix.nbytes > self.budget:
                self.changed = True
                return
            self._prefixes.insert(0, prefix)
            self.bytes += prefix.nbytes

    def resize(self, budget: int) -> None:
        self.budget = budget
        while self.bytes > budget:
            self._drop(self._prefixes[0])

    def match(self, ids: Ids, cache_salt: str, least: int) -> tuple[KVSnapshot, int] | None:
        """Return the longest match with ``ids`` and its length; None below ``least`` tokens."""
        while (best := self._longest(ids, cache_salt, least)) is not None:
            prefix, _ = best
            if prefix.ensure_loaded():
                return best
            logger.warning("A saved prefix of %d tokens is damaged on disk and is computed again.", len(prefix.ids))
            self._drop(prefix)
        return None

    def take(self, prefix: KVSnapshot, length: int) -> None:
        """Record reuse of ``length`` tokens; drop the prefix if at most half of it is lost."""
        if prefix not in self._prefixes:
            return
        if continues_in_place(len(prefix.ids), length):
            self._drop(prefix)
        else:
            self._use(prefix)

    def park(self, storage: KVStorage, slot: int, ids: Ids, cache_salt: str, kept: int) -> None:
        """Copy a slot's ``ids`` before all but the first ``kept`` tokens are overwritten.

        A loss below MIN_PARKED_TOKENS is not copied.
        """
        size = len(ids) * self._shape.bytes_per_token
        if len(ids) - kept < MIN_PARKED_TOKENS or size > self.budget:
            return
        for other in self._of_salt(cache_salt)[::-1]:
            common = common_prefix(other.ids, ids)
            if len(other.ids) - common < MIN_PARKED_TOKENS:
                self._drop(other)
            elif len(ids) - common < MIN_PARKED_TOKENS:
                self._use(other)
                return
        while self.bytes + size > self.budget:
            self._drop(self._prefixes[0])
        try:
            prefix = copy_slot(storage, slot, ids, cache_salt)
        except (RuntimeError, MemoryError) as error:  # Memory is short.
            logger.warning(
                "There is not enough memory to park %d tokens: reduce the memory for parked prefixes. %s",
                len(ids),
                error,
            )
            return
        self._prefixes.append(prefix)
        self.bytes += prefix.nbytes
        self.changed = True

    def check(self) -> None:
        assert self.bytes == sum(prefix.nbytes for prefix in self._prefixes), (
            "the bytes of the parked prefixes do not add up"
        )
        assert self.bytes <= self.budget, f"{self.bytes} bytes are parked, the budget is {self.budget}"
        for prefix in self._prefixes:
            size = len(prefix.ids) * self._shape.bytes_per_token
            assert prefix.nbytes == size, f"a parked prefix of {len(prefix.ids)} tokens has {prefix.nbytes} bytes"
            assert prefix.content is None or prefix.content.nbytes == size, (
                "a parked prefix has other bytes than it says"
            )
        # In byte order, a sequence is directly followed by a continuation, if any.
        ordered = sorted((prefix.cache_salt, prefix.ids.tobytes()) for prefix in self._prefixes)
        assert not any(salt == other and b.startswith(a) for (salt, a), (other, b) in pairwise(ordered)), (
            "a parked prefix is part of another one"
        )

    def _longest(self, ids: Ids, cache_salt: str, least: int) -> tuple[KVSnapshot, int] | None:
        best: tuple[KVSnapshot, int] | None = None
        for prefix in self._of_salt(cache_salt):
            # A mismatch at the last required token excludes most prefixes.
            if len(prefix.ids) < least or len(ids) < least or prefix.ids[least - 1] != ids[least - 1]:
                continue
            length = common_prefix(prefix.ids, ids)
            if length >= least:
                best, least = (prefix, length), length + 1
        return best

    def _of_salt(self, cache_salt: str) -> list[KVSnapshot]:
        return [prefix for prefix in self._prefixes if prefix.cache_salt == cache_salt]

    def _use(self, prefix: KVSnapshot) -> None:
        self._prefixes.remove(prefix)
        self._prefixes.append(prefix)

    def _drop(self, prefix: KVSnapshot) -> None:
        self._prefixes.remove(prefix)
        self.bytes -= prefix.nbytes
        self.changed = True


def continues_in_place(length: int, kept: int) -> bool:
    """Return whether a prompt with the first ``kept`` tokens of a donor may overwrite the rest.

    The rest must be at most half of the ``length`` tokens: a rejected suggestion, text below the
    cursor, or text before an edit. Parking such a rest at each keystroke would displace prefixes
    still needed.
    """
    return length <= 2 * kept
