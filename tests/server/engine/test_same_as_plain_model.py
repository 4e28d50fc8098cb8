"""The law: in any company, a request gets the answer of the plain model without a cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st

from pellucid.engine.kv_cache import parked_prefixes, slot_cache, state_buffers
from pellucid.engine.model import Model
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.request import Request
from pellucid.errors import QueueFullError
from pellucid.vocabulary.query import Priority, SamplingParams, Terms
from support.models.tiny_adapters import merged_into, random_adapter
from support.models.tiny_models import (
    VOCAB_SIZE,
    random_ids,
    tiny_lfm2,
    tiny_llama,
    tiny_mistral,
    tiny_qwen2,
    tiny_qwen3,
    tiny_qwen3_moe,
    tiny_qwen35,
    to_decoder,
)
from support.models.worker_driver import WorkerDriver, assert_lawful
from support.trial_counts import trial_count

pytestmark = pytest.mark.slow

INTERLEAVINGS = trial_count(100)

REFERENCES = {
    "llama": tiny_llama(),
    "experts": tiny_qwen3_moe(),
    "qwen3": tiny_qwen3(),
    "mistral": tiny_mistral(),
    "lfm2": tiny_lfm2(),
    "qwen3.5": tiny_qwen35(),
}
MODELS: dict[str, Model] = {name: to_decoder(model) for name, model in REFERENCES.items()}

_qwen2 = tiny_qwen2()
_base = to_decoder(_qwen2)
_adapter = random_adapter(_base.config)
MODELS["qwen2 with an adapter"] = _base.adapted(_adapter)
REFERENCES["qwen2 with an adapter"] = merged_into(_qwen2, _adapter)

STEMS = [random_ids(40, seed=1), random_ids(40, seed=2), random_ids(20, seed=1) + random_ids(20, seed=3)]
"""Shared beginnings of requests; the third stem leaves the first stem in the middle."""


ECHO = random_ids(6, seed=4)
"""A repetitive beginning, so that tokens are guessed."""


@dataclass(frozen=True)
class Submit:
    request: Request


@dataclass(frozen=True)
class Cancel:
    job: int


@dataclass(frozen=True)
class Steps:
    count: int


@st.composite
def requests(draw: st.DrawFn) -> Request:
    stem = draw(st.sampled_from(STEMS))
    prompt = stem[: draw(st.integers(1, len(stem)))] + draw(st.lists(st.integers(0, VOCAB_SIZE - 1), max_size=8))
    if draw(st.booleans()):
        prompt = (ECHO * 5)[: draw(st.integers(8, 30))]
    sampled = draw(st.booleans())
    params = SamplingParams(
        max_tokens=draw(st.integers(0, 12)),
        temperature=draw(st.sampled_from([0.7, 1.5])) if sampled else 0.0,
        top_p=draw(st.sampled_from([0.5, 0.9, 1.0])),
        seed=draw(st.integers(0, 99)),
        top_logprobs=draw(st.sampled_from([0, 1, 5, 20])),
    )
    terms = Terms(draw(st.sampled_from(Priority)), draw(st.sampled_from([None, None, "editor a", "editor b"])))
    score_from = draw(st.none() | st.integers(0, len(prompt)))
    stop_ids = frozenset(draw(st.sets(st.integers(0, VOCAB_SIZE - 1), max_size=2)))
    return Request(prompt, params, terms, stop_ids, score_from, cache_salt=draw(st.sampled_from(["", "", "anna"])))


OPERATIONS = st.lists(
    st.one_of(requests().map(Submit), st.integers(0, 9).map(Cancel), st.integers(1, 6).map(Steps)),
    min_size=4,
    max_size=16,
)


def play(driver: WorkerDriver, operations: list[Submit | Cancel | Steps]) -> None:
    """Carry out the operations and finish all requests."""
    for operation in operations:
        match operation:
            case Submit(request):
                driver.submit(request)
            case Cancel(job):
                driver.worker.cancel(job)
            case Steps(count):
                for _ in range(count):
                    driver.step()
        driver.worker.check()
    driver.finish()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread, faster for small matrices."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def park_short_prefixes() -> Iterator[None]:
    """Park even short prompts, restore prompts for a single token, and keep states often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parked_prefixes, "MIN_PARKED_TOKENS", 4)
        patch.setattr(slot_cache, "MIN_GAIN_TOKENS", 1)
        patch.setattr(state_buffers, "MIN_INTERVAL", 4)
        yield


class TestLaw:
    @pytest.mark.parametrize("name", sorted(MODELS))
    @settings(max_examples=INTERLEAVINGS, deadline=None)
    @given(
        operations=OPERATIONS, slots=st.integers(1, 4), chunk=st.integers(1, 48), room=st.sampled_from([0, 100, 1000])
    )
    def test_any_interleaving(
        self, name: str, operations: list[Submit | Cancel | Steps], slots: int, chunk: int, room: int
    ) -> None:
        """With any order of submits, cancels, prefixes and chunks, every token is lawful."""
        memory = room * MODELS[name].cache_shape.bytes_per_token
        driver = WorkerDriver(
            MODELS[name], EngineSettings(slots=slots, context=64, chunk=chunk, queue=8, prefix_memory=memory)
        )
        play(driver, operations)
        worst = max((assert_lawful(job, REFERENCES[name]) for job in driver.jobs if job.scores), default=0.0)
        event("largest logprob difference below " + next(f"{10.0**-e:g}" for e in range(7, 3, -1) if worst < 10.0**-e))
        if any(job.finish and job.finish.usage.cached for job in driver.jobs):
            event("some prompt came from the cache")
        if driver.worker.status.totals.right:
            event("some guess was right")
        if driver.worker.cache.parked.bytes:
            event("some prefix was parked")
        assert driver.worker.cache.free == slots
        assert all(job.finish or isinstance(job.items[-1], QueueFullError) for job in driver.jobs)

    @pytest.mark.parametrize("name", ["llama", "qwen3.5"])
    @settings(max_examples=INTERLEAVINGS, deadline=None)
    @given(
        request=requests(),
        boring=st.integers(0, VOCAB_SIZE - 1),
        chunk=st.integers(1, 48),
        prediction=st.lists(st.integers(0, VOCAB_SIZE - 1), max_size=24),
    )
    def test_guesses_change_nothing(
        self, name: str, request: Request, boring: int, chunk: int, prediction: list[int]
    ) -> None:
        """Guesses, also from a prediction, change no tokens and no scores of an answer.

        A bias makes the model repeat tokens, so that guesses are right; penalties see each token
        before the next draw.
        """
        params = replace(
            request.params, max_tokens=20, logit_bias={boring: 3.0}, presence_penalty=0.4, repetition_penalty=1.1
        )
        for each in (params, replace(params, presence_penalty=0.0, repetition_penalty=1.0)):
            asked = replace(request, params=each, prediction=[*prediction, *[boring] * 4])
            with_guesses, without = (
                WorkerDriver(MODELS[name], EngineSettings(slots=1, context=64, chunk=chunk, lookup=lookup))
                for lookup in (True, False)
            )
            actual, expected = with_guesses.run(asked), without.run(asked)
            assert without.worker.status.totals.guessed == 0
            event(f"{min(with_guesses.worker.status.totals.right, 10)} tokens guessed right")
            assert [(score.id, score.position) for score in actual.scores] == [
                (score.id, score.position) for score in expected.scores
            ]
            for one, other in zip(actual.scores, expected.scores, strict=True):
                assert one.rank == pytest.approx(other.rank, abs=1)  # Rounding may swap two words.
                assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
                assert one.sampled == pytest.approx(other.sampled, abs=1e-4)
            assert actual.finish is not None
            assert expected.finish is not None
            assert actual.finish.reason == expected.finish.reason
            assert actual.finish.usage.generated == expected.finish.usage.generated

    @settings(max_examples=INTERLEAVINGS, deadline=None)
    @given(request=requests(), others=OPERATIONS, chunk=st.integers(1, 48))
    def test_seed(self, request: Request, others: list[Submit | Cancel | Steps], chunk: int) -> None:
        """A seed gives the same tokens alone and in company."""
        request = Request(request.prompt, request.params, stop_ids=request.stop_ids)
        alone = WorkerDriver(MODELS["llama"], EngineSettings(slots=1, context=64, chunk=64)).run(request)
        crowd = WorkerDriver(MODELS["llama"], EngineSettings(slots=3, context=64, chunk=chunk))
        job = crowd.submit(request)
        play(crowd, [operation for operation in others if operation != Cancel(0)])
        assert alone.generated == job.generated
