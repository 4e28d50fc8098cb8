"""Slots: the search for a prefix, continuing in place, copying, and eviction."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from pellucid.engine.kv_cache.host_storage import HostStorage
from pellucid.engine.kv_cache.slot_cache import Match, SlotCache
from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model import CacheShape
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.request import Request
from pellucid.models.saved_prefixes import PrefixFile
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.query import SamplingParams
from support.models.flat_batches import layers_of
from support.models.tiny_models import random_ids, tiny_llama, to_decoder
from support.models.worker_driver import WorkerDriver, assert_lawful


def cache(slots: int = 3) -> SlotCache:
    shape = CacheShape(layers=2, kv_heads=1, head_dim=4, dtype="float32")
    return SlotCache(HostStorage(shape, slots, 32), shape, slots, capacity=32)


def fill(cache: SlotCache, ids: list[int], release: bool = True) -> int:
    """Put a sequence through the cache, with the token ids as keys and values."""
    match = cache.match(np.array(ids))
    slot = cache.acquire(match)
    new = ids[match.length :]
    for array in layers_of(cache.storage):
        array[slot, :, match.length : len(ids)] = np.array(new)[:, None]
    cache.extend(slot, new)
    if release:
        cache.release(slot)
    return slot


def content(cache: SlotCache, slot: int) -> list[int]:
    """Return the token ids from the values of the last layer."""
    return [int(value) for value in layers_of(cache.storage)[-1][slot, 0, : cache.length(slot), 0]]


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


REFERENCE = tiny_llama()
MODEL = to_decoder(REFERENCE)
PROMPT = random_ids(60, seed=1)
OTHER = random_ids(60, seed=2)
PARAMS = SamplingParams(max_tokens=2)
MEMORY = 1000 * MODEL.cache_shape.bytes_per_token


def driver(slots: int = 4, memory: int = MEMORY) -> WorkerDriver:
    return WorkerDriver(MODEL, EngineSettings(slots=slots, context=96, chunk=96, prefix_memory=memory))


def cached(driver: WorkerDriver, salt: str, prompt: list[int] = PROMPT) -> int:
    """Return the cached tokens of a prompt, and check the answer against the plain model."""
    job = driver.run(Request(prompt, PARAMS, cache_salt=salt))
    assert_lawful(job, REFERENCE)
    assert job.finish is not None
    return job.finish.usage.cached


def test_a_slot() -> None:
    """A released slot is reused only with the same salt, even if a salt is empty."""
    engine = driver()
    assert [cached(engine, salt) for salt in ("anna", "ben", "", "anna", "ben", "")] == [0, 0, 0, 59, 59, 59]


def test_a_slot_that_is_held() -> None:
    """A running request lends the prefix only to requests with the same salt."""
    engine = driver()
    running = engine.submit(Request(PROMPT, SamplingParams(max_tokens=30, ignore_eos=True), cache_salt="anna"))
    engine.step()
    others = [engine.submit(Request(PROMPT, PARAMS, cache_salt=salt)) for salt in ("ben", "anna")]
    engine.step()
    assert running.finish is None
    assert [other.sequence.cached for other in others] == [0, 59]


def test_prompts_that_come_together() -> None:
    """A request waits for the prefill of a reusable prefix only if the salts are equal."""
    engine = driver()
    jobs = [engine.submit(Request(PROMPT, PARAMS, cache_salt=salt)) for salt in ("anna", "anna", "ben")]
    engine.worker.scheduler.schedule(0.0)
    assert [job.sequence.slot is not None for job in jobs] == [True, False, True]
    engine.finish()
    assert [job.sequence.cached for job in jobs] == [0, 59, 0]


def test_a_parked_prefix() -> None:
    """A parked prefix is restored only with the same salt, and is parked once for each salt."""
    engine = driver(slots=1)
    for salt in ("anna", "ben"):
        assert cached(engine, salt) == 0
        assert cached(engine, salt, OTHER) == 0
    parked = [
        (prefix.cache_salt, list(prefix.ids[:60]) == PROMPT) for prefix in engine.worker.cache.parked.newest_first
    ]
    assert sorted(parked) == [("anna", False), ("anna", True), ("ben", True)]
    assert [cached(engine, salt) for salt in ("carl", "anna", "ben")] == [0, 59, 59]


def test_the_same_tokens_do_not_keep_what_a_slot_loses() -> None:
    """A slot is parked even if the slot is taken for the same tokens with a different salt."""
    engine = driver(slots=1)
    assert [cached(engine, salt) for salt in ("anna", "ben", "anna")] == [0, 0, 59]


def test_the_check_finds_a_wrong_salt() -> None:
    """The self-check fails if a sequence is in a slot with the wrong salt."""
    engine = driver()
    engine.submit(Request(PROMPT, SamplingParams(max_tokens=30, ignore_eos=True), cache_salt="anna"))
    engine.step()
    engine.worker.cache._salts[0] = "ben"
    with pytest.raises(AssertionError, match="slot 0 has another salt"):
        engine.worker.check()


def test_after_a_restart(tmp_path: Path) -> None:
    """Prefixes saved on the disk keep their salts after a restart."""
    (tmp_path / "model").touch()
    file = PrefixFile(tmp_path / "prefixes", "key", MODEL.cache_shape, tmp_path / "model")
    settings = EngineSettings(slots=2, context=96, prefix_memory=MEMORY)

    async def usages(engine: LocalEngine, salts: list[str]) -> list[int]:
        found: list[int] = []
        for salt in salts:
            items = engine.generate("tiny", Request(PROMPT, PARAMS, cache_salt=salt))
            found += [item.usage.cached async for item in items if isinstance(item, Finish)]
        return found

    for salts, expected in ((["anna", "ben"], [0, 0]), (["carl", "", "ben", "anna"], [0, 0, 59, 59])):
        engine = LocalEngine({"tiny": MODEL}, settings, saved={"tiny": file})
        assert asyncio.run(usages(engine, salts)) == expected
        engine.close()


def test_lengths_of_other_salts_do_not_matter() -> None:
    """The longest prefix with the salt is found, despite longer prefixes with different salts."""
    slots = SlotCache(MODEL.new_storage(3, 96), MODEL.cache_shape, 3, 96)
    for salt, length in (("anna", 60), ("ben", 20)):
        slot = slots.acquire(slots.match(np.array(PROMPT[:length]), salt))
        slots.extend(slot, PROMPT[:length])
        slots.release(slot)
    assert [slots.match(np.array(PROMPT), salt).length for salt in ("anna", "ben", "")] == [60, 20, 0]
