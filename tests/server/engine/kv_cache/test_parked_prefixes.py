"""Parking, restoring and evicting prefixes changes no result of a cold run."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import event, given
from hypothesis import strategies as st

from pellucid.engine.kv_cache import parked_prefixes
from pellucid.engine.kv_cache.host_storage import HostStorage
from pellucid.engine.kv_cache.kv_snapshot import Content, Ids, KVSnapshot
from pellucid.engine.kv_cache.parked_prefixes import MIN_PARKED_TOKENS, ParkedPrefixes
from pellucid.engine.kv_cache.slot_cache import MIN_GAIN_TOKENS, SlotCache
from pellucid.engine.model import CacheShape, Model
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.native import calls
from pellucid.engine.native.native_decoder import NativeDecoder
from pellucid.engine.request import Request
from pellucid.engine.weight_packing import pack
from pellucid.vocabulary.query import SamplingParams
from support.models.flat_batches import layers_of
from support.models.tiny_decoders import QWEN2, QWEN3, checkpoint
from support.models.tiny_models import random_ids, tiny_llama, tiny_mistral, to_decoder
from support.models.worker_driver import Job, WorkerDriver

SHAPE = CacheShape(layers=2, kv_heads=3, head_dim=4, dtype="float32")
TOKEN = SHAPE.bytes_per_token
CAPACITY = 160
PLENTY = 1000 * TOKEN


def cache(slots: int = 2, budget: int = PLENTY) -> SlotCache:
    return SlotCache(HostStorage(SHAPE, slots, CAPACITY), SHAPE, slots, CAPACITY, budget)


def written(ids: Ids, layer: int) -> Content:
    """Return a layer's values for tokens (kv_heads, tokens, head_dim), unique for each prefix."""
    checksums = [float(zlib.crc32(ids[: end + 1].tobytes()) % 10**6) for end in range(len(ids))]
    heads = np.arange(SHAPE.kv_heads)[:, None, None] + np.arange(SHAPE.head_dim) / 8 + 10 * layer
    return (np.array(checksums)[None, :, None] + heads).astype(np.float32)


def write(slots: SlotCache, slot: int, ids: Ids, start: int) -> None:
    """Compute the tokens from ``start`` on."""
    for layer, array in enumerate(layers_of(slots.storage)):
        array[slot, :, start : len(ids)] = written(ids, layer)[:, start:]
    slots.extend(slot, ids[start:].tolist())


def use(slots: SlotCache, ids: Sequence[int]) -> int:
    """Put a prompt through the cache, and return the number of computed tokens."""
    prompt = np.array(ids)
    match = slots.match(prompt)
    slot = slots.acquire(match)
    write(slots, slot, prompt, match.length)
    assert_holds(slots, slot, prompt)
    slots.release(slot)
    slots.check([])
    return len(prompt) - match.length


def assert_holds(slots: SlotCache, slot: int, ids: Ids) -> None:
    """Assert that a slot holds, to the bit, the computed values of these tokens."""
    assert slots.length(slot) == len(ids)
    for layer, array in enumerate(layers_of(slots.storage)):
        assert np.array_equal(array[slot, :, : len(ids)], written(ids, layer))


def parked_prefix(ids: Ids) -> KVSnapshot:
    return KVSnapshot(ids, np.stack([written(ids, layer) for layer in range(2 * SHAPE.layers)]))


def saved_prefix(prefix: KVSnapshot) -> KVSnapshot:
    """Return a prefix as read from a file, with the content not yet loaded."""
    content = prefix.loaded()
    return KVSnapshot(prefix.ids, None, content.copy, prefix.cache_salt, content.nbytes)


def lengths(prefixes: ParkedPrefixes) -> list[int]:
    """Return the lengths of the parked prefixes, the most recently used first."""
    return [len(prefix.ids) for prefix in prefixes.newest_first]


class TestParking:
    def test_ten_prompts_over_two_slots(self) -> None:
        """Ten repeated prompts are not computed again, with only two slots."""
        slots = cache(slots=2)
        prompts = [random_ids(50 + seed, seed) for seed in range(10)]
        assert [use(slots, prompt) for prompt in prompts] == [len(prompt) for prompt in prompts]
        assert [use(slots, prompt) for prompt in prompts * 2] == [0] * 20

    def test_nothing_is_held_twice(self) -> None:
        """A prefix restored into a slot is no longer parked, so that each prompt is held once."""
        slots = cache(slots=2)
        prompts = [random_ids(50, seed) for seed in range(5)]
        for prompt in prompts * 3:
            use(slots, prompt)
        assert lengths(slots.parked) == [50] * 3

    def test_edit_in_the_middle(self) -> None:
        """After an edit only the later tokens are computed, for slots and parked prompts."""
        slots = cache(slots=1)
        prompt, other = random_ids(100, 1), random_ids(60, 2)
        edited, again = [*prompt[:70], 0, *prompt[70:]], [*prompt[:70], 1, 2, *prompt[71:]]
        use(slots, prompt)
        assert use(slots, edited) == 31
        use(slots, other)
        assert use(slots, again) == 31

    def test_back_and_forth_with_one_slot(self) -> None:
        """If the only free slot would lose most of its content, the content is parked first."""
        slots = cache(slots=1)
        long, short = random_ids(100, 1), [*random_ids(40, 1), *random_ids(5, 2)]
        use(slots, long)
        assert use(slots, short) == 5
        assert use(slots, long) == 0

    def test_a_long_tail_stays_parked(self) -> None:
        """A prompt that takes less than half of a parked prefix keeps the prefix parked."""
        slots = cache(slots=1)
        long = random_ids(120, 1)
        use(slots, long)
        use(slots, random_ids(40, 2))
        assert use(slots, [*long[:50], 0]) == 1
        assert 120 in lengths(slots.parked)
        assert use(slots, long) == 0

    def test_short_rests_are_not_parked(self) -> None:
        """A few tokens are not parked, neither alone nor at the end of a continued prompt."""
        slots = cache(slots=1)
        use(slots, random_ids(MIN_PARKED_TOKENS - 1, 1))
        use(slots, random_ids(80, 2))
        assert lengths(slots.parked) == []
        use(slots, random_ids(80, 3))
        use(slots, [*random_ids(80, 2), *random_ids(MIN_PARKED_TOKENS - 1, 4)])
        assert lengths(slots.parked) == [80]

    def test_copying_must_be_worth_it(self) -> None:
        """A parked prefix is used only with enough more tokens than the best slot."""
        slots = cache(slots=2)
        long, common = random_ids(100, 1), 40
        slots.parked.fill([parked_prefix(np.array(long))])
        use(slots, [*long[:common], 0])
        assert slots.match(np.array(long[: common + MIN_GAIN_TOKENS - 1])).parked is None
        assert slots.match(np.array(long[: common + MIN_GAIN_TOKENS])).parked is not None

    def test_a_prefix_of_another_one_is_dropped(self) -> None:
        """Parking a longer prefix drops all parts of the prefix, and no part is parked again."""
        slots = cache(slots=1)
        long = random_ids(150, 1)
        for ids in (long[:60], long, long[:100]):
            # This prompt shares no tokens with the prefixes.
            slot = slots.acquire(slots.match(np.array([99])))
            write(slots, slot, np.array(ids), 0)
            slots.release(slot)
        use(slots, random_ids(40, 2))
        assert lengths(slots.parked) == [150]

    def test_spoilt_content_is_not_parked(self) -> None:
        """Content is dropped, not parked, after a failed step may have damaged the content."""
        slots = cache(slots=1)
        slot = slots.acquire(slots.match(np.array(random_ids(60))))
        write(slots, slot, np.array(random_ids(60)), 0)
        slots.forget(slot)
        slots.release(slot)
        use(slots, random_ids(60, 2))
        assert lengths(slots.parked) == []


class TestBudget:
    def test_least_recently_used_makes_room(self) -> None:
        """The most recently used prefixes stay in the budget, and copying a beginning is a use."""
        slots = cache(slots=1, budget=250 * TOKEN)
        a, b, c = (random_ids(100, seed) for seed in range(3))
        for prompt in (a, b, c, [*a[:40], 0]):
            use(slots, prompt)
        assert [list(prefix.ids) for prefix in slots.parked.newest_first] == [c, a]

    def test_what_exceeds_the_budget_alone(self) -> None:
        """A prefix larger than the whole budget evicts nothing."""
        slots = cache(slots=1, budget=50 * TOKEN)
        for length in (45, 51, 60):
            use(slots, random_ids(length, seed=length))
        assert lengths(slots.parked) == [45]

    def test_none(self) -> None:
        """Without a budget nothing is parked, and a repeated prompt is computed in full."""
        slots = cache(slots=1, budget=0)
        use(slots, random_ids(60, 1))
        use(slots, random_ids(60, 2))
        assert slots.parked.bytes == 0
        assert use(slots, random_ids(60, 1)) == 60

    def test_memory_that_cannot_be_had(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        """Without memory for parking, a prompt is dropped with a log line; serving continues."""

        def fail(*_: object) -> KVSnapshot:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

        monkeypatch.setattr(parked_prefixes, "copy_slot", fail)
        slots = cache(slots=1)
        use(slots, random_ids(60, 1))
        assert use(slots, random_ids(60, 2)) == 60
        assert [record.message.split(":")[0] for record in caplog.records] == [
            "There is not enough memory to park 60 tokens"
        ]
        slots.check([])


class TestSaved:
    def test_slots_are_parked_last(self) -> None:
        """When the server exits, the content of the slots counts as the most recently used."""
        slots = cache(slots=2)
        prompts = [random_ids(50 + seed, seed) for seed in range(4)]
        for prompt in prompts:
            use(slots, prompt)
        slots.park_all()
        assert [list(prefix.ids) for prefix in slots.parked.newest_first] == prompts[::-1]

    def test_fill_keeps_the_budget(self) -> None:
        """From prefixes saved under a larger budget, the most recently used prefixes are taken."""
        prefixes = [parked_prefix(np.array(random_ids(50, seed))) for seed in range(4)]
        found = ParkedPrefixes(SHAPE, 120 * TOKEN)
        found.fill(prefixes)
        assert found.newest_first == prefixes[:2]
        found.check()

    def test_damage_is_found_at_the_first_look(self, caplog: pytest.LogCaptureFixture) -> None:
        """Damaged content is logged and not used; the next best prefix is used."""
        ids = np.array(random_ids(100, 1))
        good, bad = parked_prefix(ids[:60]), parked_prefix(ids)
        good, bad = saved_prefix(good), saved_prefix(bad)
        bad.loader = lambda: None
        slots = cache(slots=1)
        slots.parked.fill([bad, good])
        assert use(slots, ids.tolist()) == 40
        assert [record.message for record in caplog.records] == [
            "A saved prefix of 100 tokens is damaged on disk and is computed again."
        ]


class TestCheck:
    def test_finds_what_is_wrong(self) -> None:
        """The self-check finds wrong sums, budgets, shapes and dtypes, and redundant prefixes."""
        ids = np.array(random_ids(60))

        def holding(*prefixes: KVSnapshot, budget: int = PLENTY) -> ParkedPrefixes:
            found = ParkedPrefixes(SHAPE, PLENTY)
            found.fill(prefixes)
            found.budget = budget
            return found

        holding(parked_prefix(ids)).check()
        with pytest.raises(AssertionError, match="part of another one"):
            holding(parked_prefix(ids), parked_prefix(np.array(random_ids(50, 2))), parked_prefix(ids[:40])).check()
        with pytest.raises(AssertionError, match="the budget is 1"):
            holding(parked_prefix(ids), budget=1).check()
        with pytest.raises(AssertionError, match="of 60 tokens has"):
            holding(KVSnapshot(ids, parked_prefix(ids).loaded()[:, :, :50])).check()
        with pytest.raises(AssertionError, match="of 60 tokens has"):
            holding(KVSnapshot(ids, parked_prefix(ids).loaded().astype(np.float64))).check()
        found = holding(parked_prefix(ids))
        found.bytes -= 1
        with pytest.raises(AssertionError, match="do not add up"):
            found.check()


STEMS = [
    random_ids(80, 1),
    random_ids(80, 2),
    random_ids(45, 1) + random_ids(35, 3),
    random_ids(20, 1) + random_ids(60, 4),
]


@st.composite
def prompts(draw: st.DrawFn) -> list[int]:
    """Draw the beginning of a stem, followed by arbitrary tokens."""
    stem = draw(st.sampled_from(STEMS))
    return stem[: draw(st.integers(1, len(stem)))] + random_ids(draw(st.integers(0, 60)), seed=draw(st.integers(0, 5)))


@dataclass
class World:
    """A cache, the prompts in the slots, and the number of restored prompts."""

    slots: SlotCache
    prompts: dict[int, Ids] = field(default_factory=dict)
    came_back: int = 0

    def begin(self, ids: list[int]) -> None:
        """Give a prompt a slot, and compute half of the prompt."""
        if not self.slots.free:
            return
        prompt = np.array(ids)
        match = self.slots.match(prompt)
        self.came_back += match.parked is not None
        slot = self.slots.acquire(match)
        assert_holds(self.slots, slot, prompt[: match.length])
        write(self.slots, slot, prompt[: (match.length + len(prompt) + 1) // 2], match.length)
        self.prompts[slot] = prompt

    def end(self, choice: int, failed: bool) -> None:
        """Compute the rest of a prompt and free the slot, or fail with a damaged slot."""
        if not self.prompts:
            return
        slot = sorted(self.prompts)[choice % len(self.prompts)]
        prompt = self.prompts.pop(slot)
        if failed:
            layers_of(self.slots.storage)[0][slot] = -1
            self.slots.forget(slot)
        else:
            write(self.slots, slot, prompt, self.slots.length(slot))
        self.slots.release(slot)

    def restart(self) -> None:
        """End and save all prompts, and start again with the saved prefixes."""
        while self.prompts:
            self.end(0, failed=False)
        self.slots.park_all()
        saved = self.slots.parked.newest_first
        for prefix in saved:
            assert prefix.ensure_loaded()  # Saving reads unread prefixes.
        self.slots = cache(self.slots.slots, self.slots.parked.budget)
        self.slots.parked.fill(map(saved_prefix, saved))


@dataclass(frozen=True)
class Begin:
    ids: list[int]


@dataclass(frozen=True)
class End:
    choice: int
    failed: bool


@dataclass(frozen=True)
class Restart:
    pass


OPERATIONS = st.lists(
    st.one_of(prompts().map(Begin), st.builds(End, st.integers(0, 3), st.booleans()), st.builds(Restart)),
    min_size=5,
    max_size=40,
)


@pytest.mark.slow
@given(operations=OPERATIONS, slots=st.integers(1, 3), budget=st.sampled_from([0, 90, 250, 2000]))
def test_any_order(operations: list[Begin | End | Restart], slots: int, budget: int) -> None:
    """Any order of prompts, ends, failures and restarts keeps content and budget, without leaks."""
    world = World(cache(slots, budget * TOKEN))
    for operation in operations:
        match operation:
            case Begin(ids):
                world.begin(ids)
            case End(choice, failed):
                world.end(choice, failed)
            case Restart():
                world.restart()
        world.slots.check(list(world.prompts))
        for slot, prompt in world.prompts.items():
            assert_holds(world.slots, slot, prompt[: world.slots.length(slot)])
    event("some prefix came back" if world.came_back else "no prefix came back")


def native(name: str) -> Model:
    if not calls.available():
        pytest.skip(calls.reason())
    config = {"qwen2": QWEN2, "qwen3": QWEN3}[name]
    return NativeDecoder(config, pack(config, checkpoint(config).items(), "int8-native"))


def drive(model: Model, slots: int, budget: int = 2**30) -> WorkerDriver:
    return WorkerDriver(model, EngineSettings(slots=slots, context=200, chunk=64, prefix_memory=budget))


def greedy(prompt: list[int]) -> Request:
    return Request(prompt, SamplingParams(max_tokens=6, top_logprobs=5))


def cached(job: Job) -> int:
    assert job.finish is not None
    return job.finish.usage.cached


PROMPTS = [[id % QWEN3.vocab_size for id in random_ids(90 + seed, seed)] for seed in range(10)]


class TestLaw:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["qwen2", "qwen3"])
    def test_ten_prompts_are_those_of_a_cold_run(self, name: str) -> None:
        """Ten repeated prompts compute only the last token, with the bits of a cold run."""
        model = native(name)
        worker = drive(model, slots=2)
        for prompt in PROMPTS:
            worker.run(greedy(prompt))
        back = [worker.run(greedy(prompt)) for prompt in PROMPTS]
        assert [cached(job) for job in back] == [len(prompt) - 1 for prompt in PROMPTS]
        for prompt, job in zip(PROMPTS, back, strict=True):
            assert job.scores == drive(model, slots=1, budget=0).run(greedy(prompt)).scores

    @pytest.mark.parametrize("name", ["qwen2", "qwen3"])
    def test_edit_is_that_of_a_cold_run(self, name: str) -> None:
        """An edit of a parked prompt computes only the later tokens, with a cold run's bits."""
        model = native(name)
        worker = drive(model, slots=1)
        worker.run(greedy(PROMPTS[0]))
        worker.run(greedy(PROMPTS[1]))
        edited = [*PROMPTS[0][:60], 1, *PROMPTS[0][60:]]
        job = worker.run(greedy(edited))
        assert cached(job) == 60
        assert job.scores == drive(model, slots=1, budget=0).run(greedy(edited)).scores

    @pytest.mark.parametrize("make", [tiny_llama, tiny_mistral], ids=["full", "window"])
    def test_torch_gives_the_same_bits_for_a_restored_prefix(self, make: object) -> None:
        """On torch, with rounding by batch size, a restored prefix has an untouched slot's bits."""
        assert callable(make)
        model = to_decoder(make())
        moved, still = drive(model, slots=1), drive(model, slots=10, budget=0)
        for worker in (moved, still):
            for prompt in PROMPTS:
                worker.run(greedy(prompt))
        for prompt in PROMPTS:
            a, b = moved.run(greedy(prompt)), still.run(greedy(prompt))
            assert cached(a) == cached(b) == len(prompt) - 1
            assert a.scores == b.scores

    def test_status_has_the_bytes(self) -> None:
        """The worker's status has the parked bytes and their limit."""
        model = to_decoder(tiny_llama())
        worker = drive(model, slots=1, budget=2**20)
        worker.run(greedy(PROMPTS[0]))
        assert (worker.worker.status.parked_bytes, worker.worker.status.parked_limit) == (0, 2**20)
        worker.run(greedy(PROMPTS[1]))
        held = len(PROMPTS[0]) + 5  # The last of the answer's six tokens was never run.
        assert worker.worker.status.parked_bytes == held * model.cache_shape.bytes_per_token


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_cuda() -> None:
    """Prefixes on CUDA are parked in host memory, and restored to the bit."""
    model = to_decoder(tiny_llama().to("cuda"))  # type: ignore[arg-type]
    moved, still = drive(model, slots=1), drive(model, slots=3, budget=0)
    prompts = [random_ids(90, seed) for seed in range(3)]
    for worker in (moved, still):
        for prompt in prompts:
            worker.run(greedy(prompt))
    assert all(isinstance(prefix.content, np.ndarray) for prefix in moved.worker.cache.parked.newest_first)
    assert [moved.run(greedy(prompt)).scores for prompt in prompts] == [
        still.run(greedy(prompt)).scores for prompt in prompts
    ]
