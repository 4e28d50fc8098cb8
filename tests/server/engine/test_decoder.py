"""The lean decoder gives the probabilities of the transformers library for the same weights."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from pellucid.engine.decoders.decoder import DecoderConfig, inverse_frequencies
from pellucid.engine.model import Batch, BatchSpan, TokenCost
from support.models.flat_batches import CHUNKINGS, copy_prefix, new_storage, run_in_chunks, run_parts, run_together
from support.models.tiny_models import VOCAB_SIZE, random_ids, reference_logprobs, tiny_llama, tiny_mistral, to_decoder
from support.models.transformers_and_own_models import close, every_model, models


@every_model
@pytest.mark.parametrize("chunking", CHUNKINGS)
def test_chunks_agree_with_the_library(name: str, chunking: str) -> None:
    """In any chunks, every token has the probabilities of a single pass without a cache."""
    model, decoder = models(name)
    ids = random_ids(30, seed=1)
    close(run_in_chunks(decoder, new_storage(decoder), 1, ids, CHUNKINGS[chunking]), reference_logprobs(model, ids))


@every_model
def test_sequences_do_not_see_each_other(name: str) -> None:
    """Texts in flat batches, at different positions and in any slots, keep their probabilities."""
    model, decoder = models(name)
    texts = {3: random_ids(20, seed=2), 0: random_ids(13, seed=3), 2: random_ids(9, seed=4)}
    counts = {3: [11, 1, 1, 7], 0: [1, 10, 1, 1], 2: [9]}
    for slot, logprobs in run_together(decoder, new_storage(decoder), texts, counts).items():
        close(logprobs, reference_logprobs(model, texts[slot]))


@every_model
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


@every_model
def test_a_rewound_slot_forgets_what_lay_behind(name: str) -> None:
    """A slot that continues from an earlier position ignores the later text."""
    model, decoder = models(name)
    kv = new_storage(decoder)
    first = random_ids(25, seed=7)
    second = first[:9] + random_ids(6, seed=8)
    run_in_chunks(decoder, kv, 2, first, [25])
    close(run_in_chunks(decoder, kv, 2, second, [1, 5], start=9), reference_logprobs(model, second)[9:])


def test_only_wanted_rows_come_back_and_in_the_order_asked() -> None:
    """Hidden states are returned for the wanted rows alone; keys are stored for all rows."""
    model, decoder = models("llama")
    kv = new_storage(decoder)
    ids = random_ids(8, seed=9)
    batch = Batch(torch.tensor(ids), torch.arange(8), (BatchSpan(1, 0, 8, 0),), torch.tensor([6, 2]))
    close(decoder.logits(decoder.forward(batch, kv)).log_softmax(-1), reference_logprobs(model, ids)[[6, 2]])
    kv = new_storage(decoder)
    hidden = decoder.forward(replace(batch, rows=torch.empty(0, dtype=torch.int64)), kv)
    assert decoder.logits(hidden).shape == (0, VOCAB_SIZE)
    (last,) = run_parts(decoder, kv, [(1, 8, [5])])
    close(last, reference_logprobs(model, [*ids, 5])[8:])


def test_the_window_matters() -> None:
    """Text outside of the window changes the probabilities, so the tests above can fail."""
    ids = random_ids(30, seed=1)
    windowed, unbounded = (
        reference_logprobs(tiny_mistral(seed=3), ids),
        reference_logprobs(tiny_mistral(seed=3, sliding_window=None), ids),
    )
    close(windowed[:7], unbounded[:7])
    assert (windowed[7:] - unbounded[7:]).abs().amax(-1).min() > 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near(dtype: torch.dtype) -> None:
    """In 16 bits the probabilities stay near the 32-bit values, and the logits are float32."""
    model = tiny_llama(seed=3)
    ids = random_ids(30, seed=1)
    expected = reference_logprobs(model, ids)
    halve: Any = model.to  # The library's type hints exclude a dtype.
    decoder = to_decoder(halve(dtype))
    assert decoder.cache_shape.dtype == dtype
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
    assert decoder.cost == TokenCost(4 * (body + head), body, head, torch.float32)


def test_a_tied_head_is_counted_once() -> None:
    """A tied head takes no additional memory."""
    model, decoder = models("llama with a tied head")
    assert decoder.weight_bytes == sum(parameter.nbytes for parameter in model.parameters() if parameter.dim() == 2)


def test_unknown_rope_scaling_is_refused() -> None:
    """An unknown kind of rotary scaling is an error, not a wrong angle."""
    sizes: dict[str, Any] = {field.name: 8 for field in fields(DecoderConfig) if field.type == "int"}
    shape = DecoderConfig(**sizes, rms_norm_eps=1e-6, rope_theta=1e4, rope_scaling={"rope_type": "yarn", "factor": 2.0})
    with pytest.raises(ValueError, match="yarn"):
        inverse_frequencies(shape)
