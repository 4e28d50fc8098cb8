"""Parks prefixes that lost their slot in host memory until their prompts come back.

A user who visits ten files and returns to the first finds all of them here: copying a thousand
tokens in costs about a thousandth of computing them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Protocol

from pellucid.engine.kv_snapshot import Ids, KVSnapshot, common_prefix, copy_slot
from pellucid.engine.model import CacheShape, KVStorage

MIN_PARKED_TOKENS = 32
"""Fewer tokens are not worth parking: one step computes them, together with the token that has to
be computed anyway.
"""

logger = logging.getLogger(__name__)


class SavedPrefixes(Protocol):
    """A place where parked prefixes outlive the process."""

    def read(self) -> list[KVSnapshot]:
        """Return what was saved, the most recently used first.

        Contents may be read later, when they are needed.
        """
        ...

    def write(self, prefixes: Sequence[KVSnapshot]) -> None:
        """Replace what was saved. Never raises: what cannot be saved is computed again."""
        ...


class ParkedPrefixes:
    """The parked prefixes of one model, at most ``budget`` bytes of them.

    The least recently used ones make room.
    """

    def __init__(self, shape: CacheShape, budget: int) -> None:
        self.budget = budget
        self.bytes = 0
        self.changed = False
        """True if the prefixes differ from those that were saved."""
        self._shape = shape
        self._prefixes: list[KVSnapshot] = []  # the least recently used first

    @property
    def newest_first(self) -> list[KVSnapshot]:
        """All of them, the most recently used first."""
        return self._prefixes[::-1]

    def fill(self, newest_first: Iterable[KVSnapshot]) -> None:
        """Take in what was saved, as much as the budget allows."""
        for prefix in newest_first:
            if self.bytes + prefix.nbytes > self.budget:
                self.changed = True
                return
            self._prefixes.insert(0, prefix)
            self.bytes += prefix.nbytes

    def resize(self, budget: int) -> None:
        """Keep no more than ``budget`` bytes from now on."""
        self.budget = budget
        while self.bytes > budget:
            self._drop(self._prefixes[0])

    def match(self, ids: Ids, cache_salt: str, least: int) -> tuple[KVSnapshot, int] | None:
        """Return the prefix of this salt with the most tokens in common with ``ids``, and how many; None for fewer than ``least``."""
        while (best := self._longest(ids, cache_salt, least)) is not None:
            prefix, _ = best
            if prefix.ensure_loaded():
                return best
            logger.warning("A saved prefix of %d tokens is damaged on disk and is computed again.", len(prefix.ids))
            self._drop(prefix)
        return None

    def take(self, prefix: KVSnapshot, length: int) -> None:
        """Record that a slot continues the first ``length`` tokens: drop the prefix, unless most of it would be lost."""
        if prefix not in self._prefixes:
            return
        if continues_in_place(len(prefix.ids), length):
            self._drop(prefix)
        else:
            self._use(prefix)

    def park(self, storage: KVStorage, slot: int, ids: Ids, cache_salt: str, kept: int) -> None:
        """Copy what a slot holds, ``ids``, before it loses all but the first ``kept`` tokens.

        Short rests are not copied.
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
        except (RuntimeError, MemoryError) as error:  # torch and numpy raise these where there is no memory
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
        """Assert that the budget is kept and that no prefix is part of another one with the same salt."""
        assert self.bytes == sum(prefix.nbytes for prefix in self._prefixes), (
            "the bytes of the parked prefixes do not add up"
        )
        assert self.bytes <= self.budget, f"{self.bytes} bytes are parked, the budget is {self.budget}"
        for prefix in self._prefixes:
            size = (2 * self._shape.layers, self._shape.kv_heads, len(prefix.ids), self._shape.head_dim)
            assert tuple(prefix.content.shape) == size, (
                f"a parked prefix of {len(prefix.ids)} tokens has shape {tuple(prefix.content.shape)}"
            )
            assert prefix.content.dtype == self._shape.dtype, f"a parked prefix holds {prefix.content.dtype}"
        # In the order of their bytes a sequence is directly followed by one that continues it, if
        # there is any.
        ordered = sorted((prefix.cache_salt, prefix.ids.tobytes()) for prefix in self._prefixes)
        assert not any(salt == other and b.startswith(a) for (salt, a), (other, b) in pairwise(ordered)), (
            "a parked prefix is part of another one"
        )

    def _longest(self, ids: Ids, cache_salt: str, least: int) -> tuple[KVSnapshot, int] | None:
        best: tuple[KVSnapshot, int] | None = None
        for prefix in self._of_salt(cache_salt):
            # One comparison excludes most: that of the last token that a match would need.
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
    """Return whether a prompt that shares the first ``kept`` of a donor's ``length`` tokens may overwrite the rest: at most half.

    The rest is then a suggestion that was not accepted, the text below a cursor in a prompt that
    ends with it, or the text before an edit: parking it at each keystroke would drive out prefixes
    that are needed again. A jump to another place changes a prompt from its beginning, so it is
    none of these.
    """
    return length <= 2 * kept
