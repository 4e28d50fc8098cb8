"""Prefixes whose slots were needed by others, parked in host memory until their prompts come back.

Somebody who looks into ten files and comes back finds all of them here: copying a thousand tokens in costs about a
thousandth of computing them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Protocol

from pellucid.engine.kv_snapshot import Ids, KVSnapshot, common_prefix, copy_of
from pellucid.engine.model import CacheShape, KVStorage

SCRAP = 32
"""Fewer tokens are not worth parking: they are computed in one step, together with the token that has to be computed anyway."""

logger = logging.getLogger(__name__)


class SavedPrefixes(Protocol):
    """Where parked prefixes outlive the process."""

    def read(self) -> list[KVSnapshot]:
        """What was saved, the most recently used first. Contents may be read as late as they are looked at."""
        ...

    def write(self, prefixes: Sequence[KVSnapshot]) -> None:
        """Replace what was saved. Raises nothing: what cannot be saved is computed again."""
        ...


class ParkedPrefixes:
    """The parked prefixes of one model, at most ``budget`` bytes of them. What was used least recently makes room."""

    def __init__(self, shape: CacheShape, budget: int) -> None:
        self.budget = budget
        self.bytes = 0
        self.changed = False
        """Whether there is anything that was not saved before, or not any more."""
        self._shape = shape
        self._prefixes: list[KVSnapshot] = []  # the least recently used first

    @property
    def newest_first(self) -> list[KVSnapshot]:
        """All of them, the most recently used first."""
        return self._prefixes[::-1]

    def fill(self, newest_first: Iterable[KVSnapshot]) -> None:
        """Take in what was saved, as far as the budget goes."""
        for prefix in newest_first:
            if self.bytes + prefix.nbytes > self.budget:
                self.changed = True
                return
            self._prefixes.insert(0, prefix)
            self.bytes += prefix.nbytes

    def resize(self, budget: int) -> None:
        """Keep no more than so many bytes from now on."""
        self.budget = budget
        while self.bytes > budget:
            self._drop(self._prefixes[0])

    def match(self, ids: Ids, least: int) -> tuple[KVSnapshot, int] | None:
        """The prefix that has the most tokens in common with ``ids``, and how many; None where it would be fewer than ``least``."""
        while (best := self._longest(ids, least)) is not None:
            prefix, _ = best
            if prefix.intact:
                return best
            logger.warning("A saved prefix of %d tokens is damaged on the disk: it is computed again.", len(prefix.ids))
            self._drop(prefix)
        return None

    def take(self, prefix: KVSnapshot, length: int) -> None:
        """Take note that the first ``length`` tokens go on in a slot: the prefix leaves, unless most of it would be lost."""
        if prefix not in self._prefixes:
            return
        if goes_on(len(prefix.ids), length):
            self._drop(prefix)
        else:
            self._use(prefix)

    def park(self, storage: KVStorage, slot: int, ids: Ids, kept: int) -> None:
        """Copy what a slot holds, ``ids``, before it loses all but the first ``kept`` tokens; scraps are let go."""
        size = len(ids) * self._shape.bytes_per_token
        if len(ids) - kept < SCRAP or size > self.budget:
            return
        for other in self.newest_first:
            common = common_prefix(other.ids, ids)
            if len(other.ids) - common < SCRAP:
                self._drop(other)
            elif len(ids) - common < SCRAP:
                self._use(other)
                return
        while self.bytes + size > self.budget:
            self._drop(self._prefixes[0])
        try:
            prefix = copy_of(storage, slot, ids)
        except (RuntimeError, MemoryError) as error:  # torch's and numpy's words for memory that cannot be had
            logger.warning("There is no memory to park %d tokens: give parked prefixes less memory. %s", len(ids), error)
            return
        self._prefixes.append(prefix)
        self.bytes += prefix.nbytes
        self.changed = True

    def check(self) -> None:
        """Assert that the budget is kept and that no prefix is part of another one."""
        assert self.bytes == sum(prefix.nbytes for prefix in self._prefixes), "the bytes of the parked prefixes do not add up"
        assert self.bytes <= self.budget, f"{self.bytes} bytes are parked, the budget is {self.budget}"
        for prefix in self._prefixes:
            size = (2 * self._shape.layers, self._shape.kv_heads, len(prefix.ids), self._shape.head_dim)
            assert tuple(prefix.content.shape) == size, (
                f"a parked prefix of {len(prefix.ids)} tokens has shape {tuple(prefix.content.shape)}"
            )
            assert prefix.content.dtype == self._shape.dtype, f"a parked prefix holds {prefix.content.dtype}"
        # In the order of their bytes a sequence is directly followed by one that goes on from it, if there is any.
        assert not any(b.startswith(a) for a, b in pairwise(sorted(prefix.ids.tobytes() for prefix in self._prefixes))), (
            "a parked prefix is part of another one"
        )

    def _longest(self, ids: Ids, least: int) -> tuple[KVSnapshot, int] | None:
        best: tuple[KVSnapshot, int] | None = None
        for prefix in self._prefixes:
            # Most are told apart by one token, at the place that they would have to reach.
            if len(prefix.ids) < least or len(ids) < least or prefix.ids[least - 1] != ids[least - 1]:
                continue
            length = common_prefix(prefix.ids, ids)
            if length >= least:
                best, least = (prefix, length), length + 1
        return best

    def _use(self, prefix: KVSnapshot) -> None:
        self._prefixes.remove(prefix)
        self._prefixes.append(prefix)

    def _drop(self, prefix: KVSnapshot) -> None:
        self._prefixes.remove(prefix)
        self.bytes -= prefix.nbytes
        self.changed = True


def goes_on(length: int, kept: int) -> bool:
    """Whether a donor of ``length`` tokens is given up to a prompt that goes on from its first ``kept``: at least half lives on.

    What is cut off then is a suggestion that was not taken, the text below a cursor in a prompt that ends with it, or what
    stood there before an edit: parking it at each keystroke would drive out what is wanted again. A jump changes a prompt
    from its beginning, and so is none of these.
    """
    return length <= 2 * kept
