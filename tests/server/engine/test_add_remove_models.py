"""Models are added and removed while the engine serves, without disturbance and without leaks."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import aclosing
from typing import NoReturn

import pytest

from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.request import Admission, Request
from pellucid.engine.scheduler import Scheduler
from pellucid.engine.sequence import Sequence
from pellucid.engine.token_scores import TokenScore
from pellucid.errors import NotFoundError, UnavailableError
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.query import SamplingParams
from support.models.flat_batches import layers_of
from support.models.tiny_adapters import merged_into, random_adapter
from support.models.tiny_models import random_ids, tiny_llama, to_decoder
from support.models.worker_driver import Job, assert_lawful

pytestmark = pytest.mark.slow

REFERENCE = tiny_llama()
BASE = to_decoder(REFERENCE)
ADAPTER = random_adapter(BASE.config)
ADAPTED = merged_into(REFERENCE, ADAPTER)


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    engine = LocalEngine({"base": BASE}, EngineSettings(slots=4, context=128, chunk=16, queue=200, prefix_memory=1000))
    yield engine
    engine.close()


async def whole(engine: LocalEngine, model: str, prompt: list[int], max_tokens: int = 8) -> Job:
    """Return all items of a request."""
    request = Request(prompt, SamplingParams(max_tokens=max_tokens, top_logprobs=3))
    job = Job(Sequence(request, 0, lambda item: None, 0.0, 128))
    async for item in engine.generate(model, request):
        job.items.append(item)
    return job


async def done(future: Future[None]) -> None:
    async with asyncio.timeout(60):
        await asyncio.wrap_future(future)


async def started(engine: LocalEngine, model: str) -> AsyncIterator[Admission | TokenScore | Finish]:
    """Return a long answer that has begun."""
    stream = engine.generate(model, Request(random_ids(10), SamplingParams(max_tokens=100)))
    assert isinstance(await anext(stream), Admission)
    return stream


async def rest(stream: AsyncIterator[Admission | TokenScore | Finish]) -> list[Admission | TokenScore | Finish]:
    return [item async for item in stream]


async def test_added_model_is_served(engine: LocalEngine) -> None:
    """An added model obeys the law and has the given slots, and the base is unchanged."""
    await done(engine.add_model("base:one", BASE.adapted(ADAPTER), slots=2))
    jobs = await asyncio.gather(
        *(whole(engine, name, random_ids(20, seed)) for seed in range(3) for name in ("base", "base:one"))
    )
    for job, reference in zip(jobs, [REFERENCE, ADAPTED] * 3, strict=True):
        assert_lawful(job, reference)
    assert (len(engine.status("base").slots), len(engine.status("base:one").slots)) == (4, 2)


async def test_prefixes_are_its_own(engine: LocalEngine) -> None:
    """A variant reuses no prefixes of the base, because keys and values differ."""
    prompt = random_ids(40)
    await whole(engine, "base", prompt)
    await done(engine.add_model("base:one", BASE.adapted(ADAPTER)))
    first, second = [await whole(engine, "base:one", prompt) for _ in range(2)]
    assert first.finish is not None
    assert second.finish is not None
    assert (first.finish.usage.cached, second.finish.usage.cached) == (0, 39)


async def test_removed_model_finishes_what_it_began(engine: LocalEngine) -> None:
    """A removed model's running answer continues to the end; new requests raise NotFoundError."""
    await done(engine.add_model("base:one", BASE.adapted(ADAPTER)))
    stream = await started(engine, "base:one")
    removed = engine.remove_model("base:one")
    items = await rest(stream)
    await done(removed)
    assert isinstance(items[-1], Finish)
    assert (len(items), items[-1].reason) == (101, FinishReason.LENGTH)
    with pytest.raises(NotFoundError, match="use one of: base"):
        await whole(engine, "base:one", [1])
    with pytest.raises(NotFoundError):
        engine.remove_model("base:one")


async def test_memory_is_freed(engine: LocalEngine) -> None:
    """Once a removed model is idle, nothing holds the model or the model's cache."""
    model = BASE.adapted(ADAPTER)
    await done(engine.add_model("base:one", model))
    await whole(engine, "base:one", [1, 2, 3])
    worker = engine._workers.find("base:one")
    left = [weakref.ref(thing) for thing in (model, worker, worker.cache, layers_of(worker.cache.storage)[0])]
    del model, worker
    await done(engine.remove_model("base:one"))
    await whole(engine, "base", [1])  # The thread has continued after this request.
    gc.collect()
    assert [reference() for reference in left] == [None] * 4


async def test_replaced_while_it_answers(engine: LocalEngine) -> None:
    """A replacement answers new requests, and the old model finishes the running answers."""
    other = random_adapter(BASE.config, seed=5)
    await done(engine.add_model("base:one", BASE.adapted(ADAPTER)))
    request = Request(random_ids(10), SamplingParams(max_tokens=100, top_logprobs=3))
    old = Job(Sequence(request, 0, lambda item: None, 0.0, 128))
    async with aclosing(engine.generate("base:one", request)) as stream:
        old.items += [await anext(stream), await anext(stream)]
        await done(engine.add_model("base:one", BASE.adapted(other)))
        new = await whole(engine, "base:one", random_ids(10))
        old.items += [item async for item in stream]
    assert len(old.generated) == 100
    assert_lawful(old, ADAPTED)
    assert_lawful(new, merged_into(REFERENCE, other))


async def test_cancelling_reaches_a_removed_model(engine: LocalEngine) -> None:
    """Cancelling a removed model's answer ends the answer at once, and so the removal."""
    await done(engine.add_model("base:one", BASE.adapted(ADAPTER)))
    stream = engine.generate("base:one", Request(random_ids(10), SamplingParams(max_tokens=118, ignore_eos=True)))
    await anext(stream)
    worker = engine._workers.find("base:one")
    removed = engine.remove_model("base:one")
    await stream.aclose()
    await done(removed)
    assert worker.status.totals.generated < 118


async def test_waiting_for_a_removal_cannot_stop_it(engine: LocalEngine) -> None:
    """Giving up the wait for a removal does not stop the removal."""
    await done(engine.add_model("base:one", BASE.adapted(ADAPTER)))
    stream = await started(engine, "base:one")
    removed = engine.remove_model("base:one")
    waiting = asyncio.ensure_future(asyncio.wrap_future(removed))
    await asyncio.sleep(0)
    waiting.cancel()
    await rest(stream)
    await asyncio.to_thread(removed.result, 60)
    assert engine.failure is None


async def test_memory_for_prefixes_is_shared_by_those_there_are(engine: LocalEngine) -> None:
    """All models may park equally much, and together no more than the setting."""
    assert engine.status("base").parked_limit == 1000
    for name in ("one", "two", "three"):
        await done(engine.add_model(name, BASE.adapted(ADAPTER)))
    assert [engine.status(name).parked_limit for name in ("base", "one", "three")] == [250] * 3
    await done(engine.remove_model("two"))
    await done(engine.remove_model("one"))
    assert [engine.status(name).parked_limit for name in ("base", "three")] == [500] * 2


async def test_close_ends_what_a_removed_model_does(engine: LocalEngine) -> None:
    """Closing the engine also ends the answers of removed models, and completes their removal."""
    await done(engine.add_model("base:one", BASE.adapted(ADAPTER)))
    stream = await started(engine, "base:one")
    removed = engine.remove_model("base:one")
    await asyncio.to_thread(engine.close)
    items = await rest(stream)
    assert isinstance(items[-1], Finish)
    assert items[-1].reason in (FinishReason.CANCELLED, FinishReason.LENGTH)
    assert removed.done()
    with pytest.raises(UnavailableError):
        engine.add_model("base:two", BASE.adapted(ADAPTER))


async def test_a_dead_engine_keeps_no_promise(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the engine's thread fails, waiting for a removal raises an error."""
    await done(engine.add_model("base:one", BASE.adapted(ADAPTER)))
    stream = await started(engine, "base:one")
    removed = engine.remove_model("base:one")

    def fail(_scheduler: Scheduler, _now: float) -> NoReturn:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Scheduler, "schedule", fail)
    items = await rest(stream)
    assert isinstance(items[-1], Finish)
    assert items[-1].reason is FinishReason.ERROR
    with pytest.raises(UnavailableError, match="restart"):
        await done(removed)


async def test_models_come_and_go_under_load(engine: LocalEngine) -> None:
    """While adapters come and go, answers of the base and of a constant adapter obey the law."""
    await done(engine.add_model("base:stays", BASE.adapted(ADAPTER)))
    over = asyncio.Event()

    async def come_and_go() -> None:
        for number in range(100_000):
            if over.is_set():
                return
            name = f"base:{number % 3}"
            await done(engine.add_model(name, BASE.adapted(random_adapter(BASE.config, seed=number)), slots=1))
            job = await whole(engine, name, random_ids(5), max_tokens=2)
            assert len(job.generated) == 2
            if number % 2:
                await done(engine.remove_model(name))

    async def answers(name: str) -> list[Job]:
        return await asyncio.gather(
            *(whole(engine, name, random_ids(10 + seed, seed % 4), max_tokens=20) for seed in range(20))
        )

    coming = asyncio.ensure_future(come_and_go())
    base, stays = await asyncio.gather(answers("base"), answers("base:stays"))
    over.set()
    await coming
    for jobs, reference in ((base, REFERENCE), (stays, ADAPTED)):
        for job in jobs:
            assert_lawful(job, reference)
            assert len(job.generated) == 20
