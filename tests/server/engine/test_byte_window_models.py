"""The engine's law holds for byte window models, too."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from pellucid.engine.decoders.byte_window_model import BYTES, NEVER, NOTHING, VOCABULARY, histories, since_marker
from pellucid.engine.decoders.logistic_byte_model import LogisticModel, LogisticWeights, buckets
from pellucid.engine.decoders.ngram_byte_model import NGramModel
from pellucid.engine.kv_cache import parked_prefixes, slot_cache
from pellucid.engine.model import Model
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.request import Request
from pellucid.learn.train import ngram_trainer
from pellucid.vocabulary.query import Priority, SamplingParams, Terms
from support.learn.slow_reference_models import SlowKneserNey, history_of, slow_logprobs
from support.learn.training_texts import as_bytes, text_of
from support.models.flat_batches import CHUNKINGS, copy_prefix, new_storage, run_in_chunks, run_together
from support.models.worker_driver import WorkerDriver, assert_lawful

MARKER = BYTES
CPU = torch.device("cpu")
TEXTS = [text_of(1500, seed=1), text_of(700, seed=2)]
SLOW = SlowKneserNey([text.encode() for text in TEXTS], order=4)


def ngram_model() -> NGramModel:
    texts = [as_bytes(text) for text in TEXTS]
    tables = [ngram_trainer.continuation_table(texts, length) for length in range(3)] + [
        ngram_trainer.count_table(texts, 3)
    ]
    return NGramModel(tables, CPU)


def logistic_model() -> LogisticModel:
    draw = torch.Generator().manual_seed(5)
    weight = torch.randn(65, 30, generator=draw)
    weight[-1] = 0
    classes = torch.arange(90, 120, dtype=torch.uint8)
    return LogisticModel(LogisticWeights(weight, torch.randn(30, generator=draw), classes, -6.0), 3, CPU)


NGRAM, LOGISTIC = ngram_model(), logistic_model()
MODELS: dict[str, NGramModel | LogisticModel] = {"ngram": NGRAM, "logistic": LOGISTIC}


def expected(name: str, ids: list[int]) -> Tensor:
    """Return a model's log-probabilities after each id, from the definition, without a cache."""
    if name == "ngram":
        return slow_logprobs(SLOW, ids).log_softmax(-1)
    weights = LOGISTIC.weights
    out = torch.full((len(ids), VOCABULARY), NEVER)
    for index in range(len(ids)):
        history = history_of(ids[: index + 1])[-3:]
        padded = torch.tensor([[NOTHING] * (3 - len(history)) + list(history)])
        score = weights.bias.clone()
        for length in range(1, len(history) + 1):
            score += weights.weight[buckets(padded, 6)[0, length - 1]]
        probabilities = torch.full((BYTES,), weights.unseen).exp()
        probabilities[90:120] = score.exp() / score.exp().sum()
        out[index, :BYTES] = (probabilities / probabilities.sum()).log()
    return out


class Reference:
    """A replacement for a model of the transformers library."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, input_ids: Tensor, use_cache: bool) -> Any:
        assert not use_cache
        return SimpleNamespace(logits=expected(self.name, input_ids[0].tolist())[None])


def some_ids(count: int, seed: int) -> list[int]:
    """Return a text with a marker at the beginning and a marker inside."""
    ids = [MARKER, *text_of(count, seed).encode()][:count]
    ids[count * 2 // 3] = MARKER
    return ids


def close(actual: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(actual[:, :BYTES], wanted[:, :BYTES], atol=1e-4, rtol=0)


every_model = pytest.mark.parametrize("name", MODELS)


@every_model
@pytest.mark.parametrize("chunking", CHUNKINGS)
def test_chunks_agree_with_the_definition(name: str, chunking: str) -> None:
    """However a text is cut into chunks, every byte has the probability of the definition."""
    ids = some_ids(30, seed=1)
    close(run_in_chunks(MODELS[name], new_storage(MODELS[name]), 1, ids, CHUNKINGS[chunking]), expected(name, ids))


@every_model
def test_sequences_do_not_see_each_other(name: str) -> None:
    """Texts that share flat batches keep their own probabilities."""
    texts = {3: some_ids(20, seed=2), 0: some_ids(13, seed=3), 2: some_ids(9, seed=4)}
    counts = {3: [11, 1, 1, 7], 0: [1, 10, 1, 1], 2: [9]}
    for slot, logprobs in run_together(MODELS[name], new_storage(MODELS[name]), texts, counts).items():
        close(logprobs, expected(name, texts[slot]))


@every_model
def test_a_copied_prefix_is_as_good_as_a_computed_one(name: str) -> None:
    """A text continues after a copied prefix as after a computed prefix."""
    kv, first = new_storage(MODELS[name]), some_ids(20, seed=5)
    second = first[:7] + some_ids(13, seed=6)
    run_in_chunks(MODELS[name], kv, 0, first, [20])
    copy_prefix(kv, source=0, target=3, length=7)
    close(run_in_chunks(MODELS[name], kv, 3, second, [13], start=7), expected(name, second)[7:])


@st.composite
def requests(draw: st.DrawFn) -> Request:
    prompt = some_ids(40, draw(st.integers(1, 2)))[: draw(st.integers(1, 40))] + draw(
        st.lists(st.integers(97, 110), max_size=6)
    )
    params = SamplingParams(
        max_tokens=draw(st.integers(0, 10)),
        temperature=draw(st.sampled_from([0.0, 0.0, 0.8])),
        seed=draw(st.integers(0, 99)),
        top_logprobs=draw(st.sampled_from([0, 1, 5])),
    )
    return Request(
        prompt,
        params,
        Terms(draw(st.sampled_from(Priority))),
        frozenset({MARKER}),
        draw(st.none() | st.integers(0, len(prompt))),
    )


@pytest.fixture(autouse=True)
def park_short_prefixes() -> Iterator[None]:
    """Park even short prompts, and restore prompts for a single token."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parked_prefixes, "MIN_PARKED_TOKENS", 4)
        patch.setattr(slot_cache, "MIN_GAIN_TOKENS", 1)
        yield


@every_model
@settings(max_examples=12, deadline=None)
@given(
    asked=st.lists(requests(), min_size=2, max_size=5),
    slots=st.integers(1, 3),
    chunk=st.integers(1, 48),
    room=st.sampled_from([0, 100]),
)
def test_the_law(name: str, asked: list[Request], slots: int, chunk: int, room: int) -> None:
    """With shared batches, prefixes, chunks and guesses, every token has the defined scores."""
    model: Model = MODELS[name]
    driver = WorkerDriver(
        model,
        EngineSettings(slots=slots, context=64, chunk=chunk, prefix_memory=room * model.cache_shape.bytes_per_token),
    )
    for request in asked:
        driver.submit(request)
        driver.step()
    driver.finish()
    for job in driver.jobs:
        assert_lawful(job, cast("PreTrainedModel", Reference(name)))


@every_model
def test_probabilities_are_of_the_bytes_alone_and_add_up_to_one(name: str) -> None:
    """The bytes' probabilities are positive and sum to one, and the marker never occurs."""
    rows = torch.randint(-1, 256, (500, MODELS[name].reach), generator=torch.Generator().manual_seed(7))
    rows[:50] = NOTHING
    logprobs = MODELS[name].head(rows).double().log_softmax(-1)
    assert float(logprobs[:, :BYTES].exp().sum(1).sub(1).abs().max()) < 1e-6
    assert float(logprobs[:, :BYTES].min()) > -40
    assert float(logprobs[:, MARKER].max()) < -80


def test_histories() -> None:
    """A byte's history is the preceding bytes, back to the last marker."""
    assert histories(torch.tensor([7, 8, 9]), 2).tolist() == [[NOTHING, NOTHING], [NOTHING, 7], [7, 8]]
    assert since_marker(torch.tensor([[1, MARKER, 3], [MARKER, 2, MARKER], [1, 2, 3]])).tolist() == [
        [NOTHING, NOTHING, 3],
        [NOTHING, NOTHING, NOTHING],
        [1, 2, 3],
    ]
