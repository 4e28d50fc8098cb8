"""The engine's thread: many event-loop tasks, several models, cancelling, failing, closing."""

from __future__ import annotations

import asyncio
import ctypes
import random
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from typing import Any, NoReturn

import pytest
import torch
from torch import Tensor

from pellucid.engine.decoders.decoder import Decoder
from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model import Batch, Interrupt, InterruptedStepError, KVStorage
from pellucid.engine.model_worker import EngineSettings, ModelWorker
from pellucid.engine.request import Admission, Request
from pellucid.engine.scheduler import BACKGROUND_STEPS, Scheduler
from pellucid.engine.sequence import Sequence
from pellucid.engine.token_scores import TokenScore
from pellucid.errors import ContextLengthError, InvalidRequestError, NotFoundError, UnavailableError
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.query import Priority, SamplingParams, Terms
from support.models.tiny_models import VOCAB_SIZE, random_ids, tiny_llama, tiny_qwen3, to_decoder
from support.models.worker_driver import Job, WorkerDriver, assert_lawful

SMALL = EngineSettings(slots=4, context=128, chunk=16, queue=200)
EDITOR = Terms(key="editor")
REFERENCES = {"llama": tiny_llama(), "qwen3": tiny_qwen3()}


class TinyLlama(Decoder):
    """The decoder of the reference."""

    def __init__(self) -> None:
        decoder = to_decoder(REFERENCES["llama"])
        super().__init__(decoder.config, decoder.weights, decoder.description)


class Failing(TinyLlama):
    """A decoder that fails if ``fails`` is set, and waits while ``may_run`` is cleared."""

    def __init__(self) -> None:
        super().__init__()
        self.fails, self.may_run = False, threading.Event()
        self.may_run.set()

    def forward(self, batch: Batch, kv: KVStorage) -> Tensor:
        self.may_run.wait()
        if self.fails:
            raise RuntimeError("the device is gone")
        return super().forward(batch, kv)


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    models = {name: to_decoder(model) for name, model in REFERENCES.items()}
    engine = LocalEngine(models, SMALL)
    yield engine
    engine.close()


async def collect(stream: AsyncIterator[Admission | TokenScore | Finish]) -> tuple[list[TokenScore], Finish]:
    """Return all items of a request."""
    items = [item async for item in stream if not isinstance(item, Admission)]
    finish = items.pop()
    assert isinstance(finish, Finish)
    scores = [item for item in items if isinstance(item, TokenScore)]
    assert len(scores) == len(items)
    return scores, finish


def generate(
    engine: LocalEngine, prompt: list[int], *, model: str = "llama", max_tokens: int = 4
) -> AsyncIterator[Admission | TokenScore | Finish]:
    return engine.generate(model, Request(prompt, SamplingParams(max_tokens=max_tokens)))


async def until_idle(engine: LocalEngine, model: str) -> None:
    """Wait until nothing runs or waits on a worker."""
    while engine.status(model).running or engine.status(model).waiting:
        await asyncio.sleep(0)


class TestGenerate:
    async def test_several_models_under_load(self, engine: LocalEngine) -> None:
        """Concurrent requests of two models, some abandoned, obey the law, and nothing leaks."""
        dice = random.Random(7)

        async def one(number: int) -> None:
            name = dice.choice(list(REFERENCES))
            request = Request(
                random_ids(dice.randrange(1, 60), seed=number % 5),
                SamplingParams(max_tokens=dice.randrange(0, 20), top_logprobs=3),
                Terms(dice.choice(list(Priority))),
            )
            enough = dice.choice([1, 5, 100])
            job = Job(Sequence(request, number, lambda item: None, 0.0, 128))
            async with aclosing(engine.generate(name, request)) as stream:
                async for item in stream:
                    job.items.append(item)
                    if len(job.items) >= enough:
                        break
            assert_lawful(job, REFERENCES[name])

        await asyncio.gather(*(one(number) for number in range(60)))
        for name in REFERENCES:
            await until_idle(engine, name)
            assert all(not slot.busy for slot in engine.status(name).slots)

    async def test_prefix_is_reused(self, engine: LocalEngine) -> None:
        """A prompt that continues an earlier prompt computes only the new tokens."""
        prompt = random_ids(50)
        await collect(generate(engine, prompt, max_tokens=0))
        admission = await anext(generate(engine, prompt, max_tokens=4))
        _, finish = await collect(generate(engine, [*prompt, 3, 4], max_tokens=4))
        assert isinstance(admission, Admission)
        assert admission.cached == 49  # The last token is always computed, to continue from.
        assert (finish.usage.cached, finish.usage.computed) == (50, 2)

    async def test_siblings_share_prefill(self, engine: LocalEngine) -> None:
        """Simultaneous requests with the same prompt compute the prompt once."""
        prompt = random_ids(90)
        results = await asyncio.gather(*(collect(generate(engine, prompt, max_tokens=3)) for _ in range(3)))
        assert sum(finish.usage.computed for _, finish in results) < 2 * len(prompt)

    async def test_close_cancels(self, engine: LocalEngine) -> None:
        """Closing the stream frees the sequence."""
        stream = engine.generate("llama", Request(random_ids(10), SamplingParams(max_tokens=100)))
        assert isinstance(await anext(stream), Admission)
        assert isinstance(await anext(stream), TokenScore)
        assert engine.status("llama").running == 1
        await stream.aclose()
        await until_idle(engine, "llama")
        assert engine.status("llama").totals.generated < 100

    async def test_supersede(self, engine: LocalEngine) -> None:
        """A newer request with the same key ends the older request as superseded."""
        request = Request(random_ids(10), SamplingParams(max_tokens=100), Terms(key="editor"))
        older = engine.generate("llama", request)
        await anext(older)
        newer, finish = await collect(
            engine.generate("llama", Request(random_ids(11), SamplingParams(max_tokens=2), Terms(key="editor")))
        )
        _, ended = await collect(older)
        assert (len(newer), finish.reason, ended.reason) == (2, FinishReason.LENGTH, FinishReason.SUPERSEDED)

    async def test_context_limits_the_answer(self, engine: LocalEngine) -> None:
        """An answer ends where the context is full."""
        scores, finish = await collect(generate(engine, random_ids(120), max_tokens=100))
        assert (len(scores), finish.reason) == (8, FinishReason.LENGTH)

    async def test_supersede_across_models(self) -> None:
        """A request of an editor supersedes the editor's request to a different model."""
        slow = Failing()
        slow.may_run.clear()
        engine = LocalEngine({"slow": slow, "other": to_decoder(REFERENCES["qwen3"])}, SMALL)
        with closing(engine):
            older = asyncio.create_task(
                collect(engine.generate("slow", Request(random_ids(10), SamplingParams(max_tokens=100), EDITOR)))
            )
            await asyncio.sleep(0)  # The older request is submitted.
            newer = asyncio.create_task(
                collect(engine.generate("other", Request(random_ids(5), SamplingParams(max_tokens=1), EDITOR)))
            )
            await asyncio.sleep(0)
            slow.may_run.set()
            (_, superseded), (_, ended) = await asyncio.gather(older, newer)
        assert (superseded.reason, ended.reason) == (FinishReason.SUPERSEDED, FinishReason.LENGTH)


class TestRefusals:
    async def test_unknown_model(self, engine: LocalEngine) -> None:
        """The error for an unknown model names the known models."""
        with pytest.raises(NotFoundError, match="llama, qwen3"):
            await collect(generate(engine, [1], model="gpt-5"))

    async def test_prompt_over_context(self, engine: LocalEngine) -> None:
        """A prompt over the context is refused with both numbers."""
        with pytest.raises(ContextLengthError, match="128 tokens and the context holds 128: shorten the prompt, or"):
            await collect(generate(engine, random_ids(128)))

    @pytest.mark.parametrize("prompt", [[], [-1], [VOCAB_SIZE]])
    async def test_impossible_prompt(self, engine: LocalEngine, prompt: list[int]) -> None:
        """An empty prompt and ids outside of the vocabulary are refused."""
        with pytest.raises(InvalidRequestError):
            await collect(generate(engine, prompt))

    async def test_a_bad_bias_is_named(self, engine: LocalEngine) -> None:
        """A bias for a nonexistent token is refused under the parameter's name."""
        request = Request([1], SamplingParams(logit_bias={VOCAB_SIZE: 1.0}))
        with pytest.raises(InvalidRequestError) as refusal:
            await collect(engine.generate("llama", request))
        assert refusal.value.param == "logit_bias"


class Interruptible(TinyLlama):
    """A decoder with background steps that wait for an interrupt while ``waits`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.waits, self.waiting = True, threading.Event()

    def forward(self, batch: Batch, kv: KVStorage) -> Tensor:
        if batch.interrupt is not None and self.waits:
            self.waiting.set()
            flag = ctypes.c_int32.from_address(batch.interrupt.address)
            while not flag.value:
                time.sleep(0)
            raise InterruptedStepError
        return super().forward(batch, kv)


class TestInterrupt:
    async def test_a_completion_interrupts_the_background(self) -> None:
        """A completion interrupts a background step, which is later repeated unchanged."""
        model = Interruptible()
        engine = LocalEngine({"llama": model}, SMALL)
        prompt = random_ids(40, seed=3)
        request = Request(prompt, SamplingParams(max_tokens=4), Terms(Priority.BACKGROUND))
        try:
            reading = asyncio.create_task(collect(engine.generate("llama", request)))
            await asyncio.to_thread(model.waiting.wait)
            completed, _ = await collect(generate(engine, random_ids(9, seed=4)))
            model.waits = False
            await collect(generate(engine, random_ids(9, seed=4)))
            read, finish = await reading
        finally:
            engine.close()
        plain = LocalEngine({"llama": to_decoder(REFERENCES["llama"])}, SMALL)
        try:
            expected, _ = await collect(plain.generate("llama", request))
        finally:
            plain.close()
        assert len(completed) == 4
        assert finish.reason is FinishReason.LENGTH
        assert [score.id for score in read] == [score.id for score in expected]
        assert [score.logprob for score in read] == pytest.approx([score.logprob for score in expected])

    async def test_what_needs_nothing_ends_although_the_background_is_interrupted(self) -> None:
        """A chat without tokens and with a cached prompt ends even in an interrupted step."""
        driver = WorkerDriver(Interruptible(), EngineSettings(slots=4, context=128, chunk=16))
        prompt, interrupt = random_ids(9, seed=4), Interrupt()
        driver.submit(Request(prompt, SamplingParams(max_tokens=0), Terms(Priority.CHAT)))
        driver.finish()
        reading = driver.submit(
            Request(random_ids(90, seed=5), SamplingParams(max_tokens=1), Terms(Priority.BACKGROUND))
        )
        chat = driver.submit(Request(prompt, SamplingParams(max_tokens=0), Terms(Priority.CHAT)))
        interrupt.set()
        assert not driver.worker.step(interrupt)
        assert chat.finish is not None
        assert reading.sequence.computed == 0

    @pytest.mark.parametrize("other", [Priority.CHAT, Priority.BACKGROUND])
    async def test_another_model_is_held_back(self, other: Priority, monkeypatch: pytest.MonkeyPatch) -> None:
        """While a model's completion runs, less urgent work of a second model rarely gets steps."""
        order: list[str] = []
        engine = LocalEngine({name: to_decoder(model) for name, model in REFERENCES.items()}, SMALL)
        step = ModelWorker.step

        def noted(worker: ModelWorker, interrupt: Interrupt | None = None) -> bool:
            order.append(worker.scheduler.urgency.name)
            return step(worker, interrupt)

        monkeypatch.setattr(ModelWorker, "step", noted)
        try:
            reading = Request(random_ids(10, seed=5), SamplingParams(max_tokens=110), Terms(other))
            completion = Request(random_ids(10, seed=6), SamplingParams(max_tokens=100), Terms(Priority.COMPLETION))
            await asyncio.gather(
                collect(engine.generate("llama", reading)), collect(engine.generate("qwen3", completion))
            )
        finally:
            engine.close()
        last = max(index for index, name in enumerate(order) if name == "COMPLETION")
        during = order[order.index("COMPLETION") : last]
        assert 0 < during.count(other.name) <= len(during) / BACKGROUND_STEPS


class TestFailure:
    async def test_a_failing_step_costs_its_own_requests_only(self) -> None:
        """If a model raises, the request ends with the error, and the next request is served."""
        model = Failing()
        engine = LocalEngine({"failing": model}, EngineSettings(slots=2, context=64))
        try:
            model.fails = True
            _, finish = await collect(generate(engine, random_ids(5), model="failing", max_tokens=3))
            model.fails = False
            scores, after = await collect(generate(engine, random_ids(5), model="failing", max_tokens=3))
        finally:
            engine.close()
        assert finish.reason is FinishReason.ERROR
        assert finish.error is not None
        assert "the device is gone" in finish.error
        assert (len(scores), after.reason) == (3, FinishReason.LENGTH)

    async def test_a_dead_engine_fails_its_requests(self, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        """If the thread fails, running requests end with an error; later requests are refused."""
        running = engine.generate("llama", Request(random_ids(10), SamplingParams(max_tokens=100)))
        await anext(running)

        def fail(_scheduler: Scheduler, _now: float) -> NoReturn:
            raise RuntimeError("a bug")

        monkeypatch.setattr(Scheduler, "schedule", fail)
        _, finish = await collect(running)
        assert finish.reason is FinishReason.ERROR
        with pytest.raises(UnavailableError, match="restart"):
            await collect(generate(engine, [1]))
        assert isinstance(engine.failure, RuntimeError)

    async def test_close_ends_streams(self) -> None:
        """Closing the engine ends all requests with a last item, and refuses later requests."""
        engine = LocalEngine({"llama": to_decoder(REFERENCES["llama"])}, EngineSettings(slots=1, context=128))
        streams = [generate(engine, random_ids(5 + n), max_tokens=120) for n in range(2)]
        await anext(streams[0])
        waiting = asyncio.create_task(collect(streams[1]))
        await asyncio.sleep(0)
        engine.close()
        assert (await collect(streams[0]))[1].reason in (FinishReason.CANCELLED, FinishReason.LENGTH)
        assert (await waiting)[1].reason in (FinishReason.CANCELLED, FinishReason.LENGTH)
        with pytest.raises(UnavailableError):
            await collect(generate(engine, [1]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
async def test_cuda() -> None:
    """On CUDA the engine obeys the same law."""
    reference = tiny_llama()
    model: Any = tiny_llama()
    decoder = to_decoder(model.to("cuda"))
    engine = LocalEngine({"llama": decoder}, EngineSettings(slots=2, context=64, chunk=8))
    try:
        request = Request(random_ids(30), SamplingParams(max_tokens=10, top_logprobs=5), score_from=0)
        job = Job(Sequence(request, 0, lambda item: None, 0.0, 64))
        async for item in engine.generate("llama", request):
            job.items.append(item)
    finally:
        engine.close()
    assert_lawful(job, reference)
