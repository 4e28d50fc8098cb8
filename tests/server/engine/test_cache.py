"""Slots: the search for a prefix, continuing in place, copying, and eviction."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pellucid.engine.cache import Match, SlotCache
from pellucid.engine.model import CacheShape


def cache(slots: int = 3) -> SlotCache:
    return SlotCache(
        CacheShape(layers=2, kv_heads=1, head_dim=4, dtype=torch.float32, device=torch.device("cpu")),
        slots,
        capacity=32,
    )


def fill(cache: SlotCache, ids: list[int], release: bool = True) -> int:
    """Put a sequence through the cache, with the token ids as keys and values."""
    match = cache.match(np.array(ids))
    slot = cache.acquire(match)
    new = ids[match.length :]
    for tensor in (*cache.storage.keys, *cache.storage.values):
        tensor[slot, :, match.length : len(ids)] = torch.tensor(new, dtype=torch.float32)[:, None]
    cache.extend(slot, new)
    if release:
        cache.release(slot)
    return slot


def content(cache: SlotCache, slot: int) -> list[int]:
    """Return the token ids from the values of the last layer."""
    return [int(value) for value in cache.storage.values[-1][slot, 0, : cache.length(slot), 0]]


def test_match_is_the_longest_prefix() -> None:
    """The slot with the longest common prefix is found, at token granularity."""
    slots = cache()
    fill(slots, [1, 2, 3, 4, 5, 6, 7])
    second = fill(slots, [9, 2, 3])
    assert slots.match(np.array([9, 2, 8])) == Match(second, 2)
    assert slots.match(np.array([8])).length == 0


def test_a_continued_prompt_stays_in_its_slot() -> None:
    """A prompt that keeps most of a donor continues in the donor's slot."""
    slots = cache()
    first = fill(slots, [1, 2, 3, 4])
    assert fill(slots, [1, 2, 3, 4, 5]) == first
    assert content(slots, first) == [1, 2, 3, 4, 5]


def test_a_branch_is_copied() -> None:
    """A prompt that shares only a donor's beginning gets a copy, and the donor is unchanged."""
    slots = cache()
    donor = fill(slots, [1, 2, 3, 4, 5, 6, 7, 8])
    branch = fill(slots, [1, 2, 9])
    assert branch != donor
    assert content(slots, branch) == [1, 2, 9]
    assert content(slots, donor) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_held_slot_lends_its_prefix() -> None:
    """The prefix of a running sequence is copied, never taken over."""
    slots = cache()
    running = fill(slots, [1, 2, 3], release=False)
    other = fill(slots, [1, 2, 3, 4])
    assert other != running
    assert content(slots, other) == [1, 2, 3, 4]


def test_least_recently_used_goes_first() -> None:
    """Space is taken from the slot with the earliest release."""
    slots = cache(slots=2)
    old = fill(slots, [1, 1, 1])
    new = fill(slots, [2, 2, 2])
    assert fill(slots, [3, 3, 3]) == old
    assert content(slots, new) == [2, 2, 2]


def test_forgotten_content_is_not_found() -> None:
    """Content is never reused after a failed step may have damaged the content."""
    slots = cache()
    slot = fill(slots, [1, 2, 3])
    slots.forget(slot)
    assert slots.match(np.array([1, 2, 3])).length == 0


def test_check_finds_a_leak() -> None:
    """The self-check finds a held slot without a sequence."""
    slots = cache()
    slot = fill(slots, [1, 2], release=False)
    slots.check([slot])
    with pytest.raises(AssertionError, match="held"):
        slots.check([])
