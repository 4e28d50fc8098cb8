"""States of recurrent layers: kept at chosen positions, shared, evicted, and rewound."""

from __future__ import annotations

import numpy as np

from pellucid.engine.kv_cache.host_storage import HostStorage
from pellucid.engine.kv_cache.slot_cache import SlotCache
from pellucid.engine.kv_cache.state_buffers import MAX_INTERVAL, MIN_INTERVAL, StateBuffers, buffers_of, interval_of
from pellucid.engine.model import NO_STATE, CacheShape

SHAPE = CacheShape(layers=1, kv_heads=1, head_dim=4, dtype="float32", state_size=128)


def cache(slots: int = 2, count: int = 12, interval: int = 8) -> SlotCache:
    storage = HostStorage(SHAPE, slots, 64, count)
    return SlotCache(storage, SHAPE, slots, 64, states=StateBuffers(count, slots, interval))


def step(cache: SlotCache, slot: int, ids: list[int], start: int, prompt: int) -> list[tuple[int, int, int]]:
    """Compute ``ids`` from ``start`` on in a step, and return the stretches."""
    assert cache.states is not None
    cache.begin_step()
    stretches = list(cache.states.stretches(slot, start, [len(ids)], prompt))
    cache.extend(slot, ids[start:])
    assert cache.end_step(slot, start, len(ids)) == len(ids)
    cache.states.check()
    return stretches


def run(cache: SlotCache, ids: list[int], release: bool = True) -> tuple[int, int]:
    """Compute a prompt. Return the slot, and the number of tokens from the cache."""
    match = cache.match(np.array(ids))
    slot = cache.acquire(match)
    step(cache, slot, ids, match.length, len(ids))
    if release:
        cache.release(slot)
    return slot, match.length


def test_distance_of_kept_states() -> None:
    """States are as far apart as tokens whose keys and values are as large, within bounds."""
    wide, small = (CacheShape(6, 2, 256, "float16", state_size=size) for size in (4_000_000, 2048))
    middle = CacheShape(6, 2, 256, "float16", state_size=300_000)
    assert [interval_of(shape) for shape in (wide, middle, small)] == [MAX_INTERVAL, 97, MIN_INTERVAL]
    assert buffers_of(CacheShape(1, 1, 4, "float32"), 8, 2**29) == 0
    assert [buffers_of(SHAPE, 2, memory) for memory in (0, 10 * 512)] == [6 + 4, 6 + 10]


def test_stretches_continue() -> None:
    """Each stretch of a step continues from the state before, and a text begins without a state."""
    slots = cache()
    slot = slots.acquire(slots.match(np.arange(0)))
    ids = list(range(20))

    stretches = step(slots, slot, ids, 0, 20)

    assert [stop for stop, _, _ in stretches] == [4, 8, 16, 19, 20]
    assert [before for _, before, _ in stretches] == [NO_STATE, *(after for _, _, after in stretches[:-1])]
    (stretch,) = step(slots, slot, [*ids, 20], 20, 20)
    assert stretch[:2] == (21, stretches[-1][2])


def test_prefix_ends_at_a_state() -> None:
    """A prompt continues from the last state within the common prefix."""
    slots = cache()
    ids = list(range(1, 31))
    run(slots, ids)
    assert slots.match(np.array([*ids, 31, 32])).length == 30
    assert slots.match(np.array([*ids[:29], 99])).length == 29
    assert slots.match(np.array([*ids[:28], 99])).length == 26
    assert slots.match(np.array([*ids[:23], 99])).length == 16
    assert slots.match(np.array([*ids[:7], 99])).length == 0


def test_reused_states_stay() -> None:
    """States that a prompt has kept serve all later prompts, whatever their lengths."""
    slots = cache(slots=3, count=40, interval=64)
    common = list(range(1, 31))
    found = [run(slots, [*common, *range(100 * n, 100 * n + 16 - n)])[1] for n in range(1, 6)]
    assert found == [0, 29, 29, 29, 29]


def test_passed_states() -> None:
    """Of the states that a sequence has passed, kept states stay; the size counts all states."""
    slots = cache(count=12, interval=8)
    assert slots.states is not None
    slot, _ = run(slots, list(range(1, 11)), release=False)
    for end in (11, 12):
        step(slots, slot, list(range(1, end + 1)), end - 1, 10)
    assert [slots.states.longest(slot, position) for position in (12, 11, 9, 8, 7)] == [12, 9, 9, 8, 6]
    assert slots.bytes == 12 * SHAPE.bytes_per_token + slots.states.used * 512
    assert slots.limit == 2 * 64 * SHAPE.bytes_per_token + 12 * 512


def test_copied_prefix_shares_states() -> None:
    """A copied prefix has the states of the original; both texts continue separately."""
    slots = cache(count=16)
    ids = list(range(1, 21))
    first, _ = run(slots, ids, release=False)
    second, cached = run(slots, [*ids[:17], 99, 98, 97], release=False)
    assert (first != second, cached) == (True, 16)
    assert slots.states is not None
    before = slots.states.used
    slots.check([first, second])
    slots.forget(second)
    slots.states.check()
    assert slots.states.used < before
    assert slots.states.longest(first, 20) == 20


def test_rejected_guesses() -> None:
    """After a rejected guess, a sequence is at its last state; the state of the guess is gone."""
    slots = cache()
    assert slots.states is not None
    ids = list(range(1, 11))
    slot, _ = run(slots, ids, release=False)
    slots.begin_step()
    list(slots.states.stretches(slot, 10, [11, 14], 10))
    slots.extend(slot, [11, 12])  # A right and a wrong guess.
    assert slots.end_step(slot, 10, 12) == 11
    assert (slots.length(slot), slots.states.longest(slot, 64)) == (11, 11)
    slots.check([slot])


def test_least_recently_used_state_is_overwritten() -> None:
    """Without a free buffer, the oldest state goes; states of running sequences never go."""
    slots = cache(slots=2, count=8, interval=4)
    assert slots.states is not None
    first, _ = run(slots, list(range(1, 11)), release=False)
    run(slots, list(range(50, 66)))
    assert slots.states.longest(first, 10) == 10
    assert (slots.states.longest(first, 5), slots.states.longest(first, 7)) == (0, 6)
    slots.check([first])


def test_reuse_counts_as_use() -> None:
    """The states of a prompt that was just continued go last."""
    slots = cache(slots=4, count=11, interval=64)
    assert slots.states is not None
    first, second = (list(range(begin, begin + 20)) for begin in (100, 200))
    (slot, _), (other, _) = (run(slots, ids) for ids in (first, second))
    assert run(slots, [*first, 1])[1] == 20
    run(slots, list(range(300, 320)))
    assert (slots.states.longest(slot, 15), slots.states.longest(other, 15)) == (4, 0)


def test_states_of_a_step_come_first() -> None:
    """Buffers that the step of all slots needs are not used for states to keep."""
    slots = cache(count=7, interval=4)
    first = slots.acquire(slots.match(np.arange(0)))
    assert [end for end, _, _ in step(slots, first, list(range(30)), 0, 30)] == [26, 28, 29, 30]
    assert [end for end, _, _ in step(slots, first, list(range(60)), 30, 60)] == [56, 59, 60]


def test_nothing_is_parked() -> None:
    """Keys and values without the states are not parked, whatever the memory."""
    slots = cache()
    slots.resize_parked(10**9)
    run(slots, list(range(1, 60)))
    slots.park_all()
    assert slots.parked.newest_first == []
