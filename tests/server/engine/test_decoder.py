"""The lean decoder gives the probabilities of the transformers library for the same weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.engine.decoders.rotary_positions import inverse_frequencies
from pellucid.engine.decoders.torch_model import dtype_name
from pellucid.engine.model import NO_STATE, BatchSpan, TokenCost
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.request import Request
from pellucid.engine.sequence import HiddenSum
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.query import BACKGROUND, SamplingParams
from support.models.flat_batches import (
    CHUNKINGS,
    batch_of,
    copy_prefix,
    new_storage,
    run_in_chunks,
    states_of,
)
from support.models.tiny_models import (
    VOCAB_SIZE,
    random_ids,
    reference_logprobs,
    tiny_lfm2,
    tiny_llama,
    tiny_mistral,
    tiny_qwen2,
    tiny_qwen35,
    to_decoder,
)
from support.models.transformers_and_own_models import (
    assert_chunks_agree,
    assert_only_wanted_rows,
    assert_sequences_are_apart,
    close,
    every_model,
    every_recurrent,
    every_rewindable,
    models,
)
from support.models.worker_driver import Job, WorkerDriver, assert_lawful


@every_model
@pytest.mark.parametrize("chunking", CHUNKINGS)
def test_chunks_agree_with_the_library(name: str, chunking: str) -> None:
    """In any chunks, every token has the probabilities of a single pass without a cache."""
    assert_chunks_agree(*models(name), chunking)


@every_model
def test_sequences_do_not_see_each_other(name: str) -> None:
    """Texts in flat batches, at different positions and in any slots, keep their probabilities."""
    assert_sequences_are_apart(*models(name))


@every_rewindable
@pytest.mark.parametrize("length", [1, 7, 16])
def test_a_copied_prefix_is_as_good_as_a_computed_one(name: str, length: int) -> None:
    """A text continues after a copied prefix as after a computed prefix."""
    model, decoder = models(name)
    kv = new_storage(decoder)
    first = random_ids(20, seed=5)
    second = first[:length] + random_ids(20 - length, seed=6)
    run_in_chunks(decoder, kv, 0, first, [20])
    copy_prefix(kv, source=0, target=3, length=length)
    rest = run_in_chunks(decoder, kv, 3, second, [20 - length], start=length)
    close(rest, reference_logprobs(model, second)[length:])


@every_rewindable
def test_a_rewound_slot_forgets_what_lay_behind(name: str) -> None:
    """A slot that continues from an earlier position ignores the later text."""
    model, decoder = models(name)
    kv = new_storage(decoder)
    first = random_ids(25, seed=7)
    second = first[:9] + random_ids(6, seed=8)
    run_in_chunks(decoder, kv, 2, first, [25])
    close(run_in_chunks(decoder, kv, 2, second, [1, 5], start=9), reference_logprobs(model, second)[9:])


@every_recurrent
@pytest.mark.parametrize("kept", [1, 2, 9, 70])
def test_a_text_continues_from_a_kept_state(name: str, kept: int) -> None:
    """A state kept in the middle of a text serves other texts, and stays unchanged."""
    model, decoder = models(name)
    kv = new_storage(decoder, capacity=100)
    first = random_ids(90, seed=5)
    spans = (BatchSpan(0, 0, kept, 0, NO_STATE, 3), BatchSpan(0, kept, 90 - kept, kept, 3, 0))
    logprobs = decoder.logits(decoder.forward(batch_of(first, range(90), spans, range(90)), kv)).values.log_softmax(-1)
    close(logprobs, reference_logprobs(model, first))
    before = states_of(kv)[3].clone()
    for slot in (1, 2):
        second = first[:kept] + random_ids(20, seed=slot)
        copy_prefix(kv, source=0, target=slot, length=kept)
        span = BatchSpan(slot, kept, 20, 0, 3, slot)
        found = decoder.logits(decoder.forward(batch_of(second[kept:], range(kept, kept + 20), (span,), range(20)), kv))
        close(found.values.log_softmax(-1), reference_logprobs(model, second)[kept:])
    assert torch.equal(states_of(kv)[3], before)


def test_only_wanted_rows_come_back_and_in_the_order_asked() -> None:
    """Hidden states are returned for the wanted rows alone; keys are stored for all rows."""
    assert_only_wanted_rows(*models("llama"))


def test_the_window_matters() -> None:
    """Text outside of the window changes the probabilities, so the tests above can fail."""
    ids = random_ids(30, seed=1)
    windowed, unbounded = (
        reference_logprobs(tiny_mistral(seed=3), ids),
        reference_logprobs(tiny_mistral(seed=3, sliding_window=None), ids),
    )
    close(windowed[:7], unbounded[:7])
    assert (windowed[7:] - unbounded[7:]).abs().amax(-1).min() > 1e-3


@pytest.mark.parametrize("make", [tiny_llama, tiny_lfm2, tiny_qwen35])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near(dtype: torch.dtype, make: Callable[..., PreTrainedModel]) -> None:
    """In 16 bits the probabilities stay near the 32-bit values, and the logits are float32."""
    model = make(seed=3)
    ids = random_ids(30, seed=1)
    expected = reference_logprobs(model, ids)
    halve: Any = model.to  # The library's type hints exclude a dtype.
    decoder = to_decoder(halve(dtype))
    assert decoder.cache_shape.dtype == dtype_name(dtype)
    actual = run_in_chunks(decoder, new_storage(decoder), 1, ids, [17, *[1] * 13])
    assert actual.dtype == torch.float32
    assert (actual.exp() - expected.exp()).abs().max() < 0.02


def test_shape_of_the_cache_and_size_of_the_weights() -> None:
    """The decoder reports the cache per token, the context, and the bytes of all weights."""
    model, decoder = models("llama")
    assert decoder.cache_shape.bytes_per_token == 2 * 3 * 2 * 16 * 4
    assert decoder.context == 256
    matrices = sum(parameter.nbytes for parameter in model.parameters() if parameter.dim() == 2)
    assert decoder.weight_bytes == matrices


@pytest.mark.parametrize("name", ["llama", "llama with a tied head"])
def test_cost_of_a_token(name: str) -> None:
    """A step reads all matrices except a separate embedding; the head is counted separately."""
    model, decoder = models(name)
    body = sum(weight.numel() for key, weight in model.named_parameters() if weight.dim() == 2 and "layers" in key)
    head = VOCAB_SIZE * 48
    assert decoder.cost == TokenCost(4 * (body + head), body, head, "float32")


def test_a_tied_head_is_counted_once() -> None:
    """A tied head takes no additional memory."""
    model, decoder = models("llama with a tied head")
    assert decoder.weight_bytes == sum(parameter.nbytes for parameter in model.parameters() if parameter.dim() == 2)


def test_unknown_rope_scaling_is_refused() -> None:
    """An unknown kind of rotary scaling is an error, not a wrong angle."""
    sizes: dict[str, Any] = {field.name: 8 for field in fields(DecoderConfig) if field.type == "int"}
    shape = DecoderConfig(**sizes, rms_norm_eps=1e-6, rope_theta=1e4, rope_scaling={"rope_type": "ntk", "factor": 2.0})
    with pytest.raises(ValueError, match="ntk"):
        inverse_frequencies(shape)


REFERENCES = {"llama": tiny_llama(), "qwen2": tiny_qwen2(), "mistral": tiny_mistral()}

every_summed = pytest.mark.parametrize("name", REFERENCES)


def driver_of(name: str, slots: int = 4, chunk: int = 16) -> WorkerDriver:
    return WorkerDriver(to_decoder(REFERENCES[name]), EngineSettings(slots=slots, context=128, chunk=chunk))


def pooled(ids: list[int]) -> Request:
    return Request(ids, SamplingParams(max_tokens=0), BACKGROUND, pool=True)


@torch.inference_mode()
def assert_sum(job: Job, reference: PreTrainedModel) -> None:
    """Assert that a pooled request computed all tokens and has the plain model's sum."""
    sums = [item.values for item in job.items if isinstance(item, HiddenSum)]
    finish = job.items[-1]
    assert isinstance(finish, Finish)
    ids = list(job.sequence.request.prompt)
    assert (finish.reason, finish.usage.cached, finish.usage.computed) == (FinishReason.LENGTH, 0, len(ids))
    expected: Tensor = reference.base_model(torch.tensor([ids])).last_hidden_state[0].double().sum(0)
    torch.testing.assert_close(torch.from_numpy(np.sum(sums, axis=0)), expected, atol=1e-3, rtol=0)


@every_summed
@pytest.mark.parametrize("length", [1, 16, 17, 100])
def test_alone(name: str, length: int) -> None:
    """The sum of a text equals the plain model's, in a single step or in chunks."""
    assert_sum(driver_of(name).run(pooled(random_ids(length, seed=5))), REFERENCES[name])


@every_summed
def test_among_generations(name: str) -> None:
    """Sums in a batch with answers, scored texts and sums are the same as alone."""
    driver = driver_of(name)
    answers = [
        driver.submit(Request(random_ids(20 + i, seed=i), SamplingParams(max_tokens=12), score_from=i * 5))
        for i in range(2)
    ]
    driver.step()
    sums = [driver.submit(pooled(random_ids(length, seed=length))) for length in (9, 40)]
    driver.finish()
    for job in sums:
        assert_sum(job, REFERENCES[name])
    for job in answers:
        assert_lawful(job, REFERENCES[name])


def test_known_prefix_is_computed_again() -> None:
    """A text with a cached beginning is still computed from the first token."""
    driver, ids = driver_of("llama"), random_ids(60, seed=8)
    driver.run(Request(ids, SamplingParams(max_tokens=1)))
    assert_sum(driver.run(pooled(ids)), REFERENCES["llama"])


def test_many_sums_keep_the_cache() -> None:
    """Twenty sums in four slots keep the cached prefixes in all slots except one."""
    driver = driver_of("llama", slots=4)
    prompts = [random_ids(50, seed=seed) for seed in range(3)]
    for prompt in prompts:
        driver.run(Request(prompt, SamplingParams(max_tokens=1)))
    for seed in range(20):
        driver.run(pooled(random_ids(30, seed=100 + seed)))
    again = [driver.run(Request(prompt, SamplingParams(max_tokens=1))) for prompt in prompts]
    for job in again:
        assert_lawful(job, REFERENCES["llama"])
        assert job.finish is not None
        assert job.finish.usage.cached == 49


def test_cancelled() -> None:
    """A sum cancelled half-way frees the slot, and no later request continues the sum."""
    driver, ids = driver_of("llama", slots=1, chunk=8), random_ids(60, seed=9)
    job = driver.submit(pooled(ids))
    driver.step()
    driver.worker.cancel(job.sequence.number)
    driver.finish()
    assert job.finish is not None
    assert job.finish.reason is FinishReason.CANCELLED
    assert_lawful(driver.run(Request(ids, SamplingParams(max_tokens=4))), REFERENCES["llama"])
