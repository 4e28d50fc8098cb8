"""Tiny models of each kind of the lean decoder, from transformers and as Decoder."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from transformers import PreTrainedModel

from pellucid.engine.decoders.decoder import Decoder
from pellucid.engine.model import BatchSpan, Model
from support.models.flat_batches import (
    CHUNKINGS,
    batch_of,
    new_storage,
    run_in_chunks,
    run_parts,
    run_together,
    tensor_of,
)
from support.models.tiny_models import (
    VOCAB_SIZE,
    random_ids,
    reference_logprobs,
    tiny_dense_hybrid,
    tiny_gemma,
    tiny_gemma2,
    tiny_gemma3,
    tiny_glm4,
    tiny_gpt_oss,
    tiny_granite,
    tiny_granite_moe,
    tiny_lfm2,
    tiny_llama,
    tiny_mellum2,
    tiny_ministral3,
    tiny_mistral,
    tiny_mixtral,
    tiny_olmo2,
    tiny_olmo3,
    tiny_olmoe,
    tiny_phi3,
    tiny_qwen2,
    tiny_qwen3,
    tiny_qwen3_moe,
    tiny_qwen35,
    tiny_smollm3,
    to_decoder,
)

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}

YARN_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 100.0,
    "factor": 4.0,
    "beta_fast": 4.0,
    "beta_slow": 1.0,
    "original_max_position_embeddings": 16,
}

BUILDERS: dict[str, Callable[..., PreTrainedModel]] = {
    "llama": tiny_llama,
    "llama with a tied head": lambda seed: tiny_llama(seed, tie_word_embeddings=True),
    "llama with one key head": lambda seed: tiny_llama(seed, num_key_value_heads=1),
    "llama with llama3 rope": lambda seed: tiny_llama(seed, rope_parameters=LLAMA3_ROPE),
    "llama with linear rope": lambda seed: tiny_llama(
        seed, rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}
    ),
    "llama with yarn rope": lambda seed: tiny_llama(seed, rope_parameters=YARN_ROPE),
    "mistral with a window": tiny_mistral,
    "qwen2 with biases": tiny_qwen2,
    "qwen2 with a window in two layers": lambda seed: tiny_qwen2(
        seed, use_sliding_window=True, sliding_window=5, max_window_layers=1
    ),
    "qwen3 with query and key norms": tiny_qwen3,
    "granite": tiny_granite,
    "granite 4, dense": tiny_dense_hybrid,
    "granite 4, dense, without rotation": lambda seed: tiny_dense_hybrid(seed, position_embedding_type=None),
    "smollm3": tiny_smollm3,
    "olmo2": tiny_olmo2,
    "olmo3": tiny_olmo3,
    "phi3": tiny_phi3,
    "glm4": tiny_glm4,
    "gemma": tiny_gemma,
    "gemma2": tiny_gemma2,
    "gemma3": tiny_gemma3,
    "ministral3": tiny_ministral3,
    "qwen3 with experts": tiny_qwen3_moe,
    "qwen3 with experts whose weights are not normalized": lambda seed: tiny_qwen3_moe(seed, norm_topk_prob=False),
    "mixtral": tiny_mixtral,
    "olmoe": tiny_olmoe,
    "mellum 2": tiny_mellum2,
    "mellum 2 with two bases": lambda seed: tiny_mellum2(seed, rope_parameters=None),
    "granite with experts": tiny_granite_moe,
    "gpt-oss": tiny_gpt_oss,
}


RECURRENT: dict[str, Callable[..., PreTrainedModel]] = {
    "lfm2": tiny_lfm2,
    "lfm2 with a last layer of attention": lambda seed: tiny_lfm2(
        seed, layer_types=["conv", "conv", "full_attention", "full_attention"]
    ),
    "qwen3.5": tiny_qwen35,
    "qwen3.5 with as many key heads": lambda seed: tiny_qwen35(seed, linear_num_key_heads=4),
    "qwen3.5 with biases": lambda seed: tiny_qwen35(seed, attention_bias=True),
}
"""Models with states, which cannot continue from any earlier position."""


@cache
def models(name: str) -> tuple[PreTrainedModel, Decoder]:
    model = (BUILDERS | RECURRENT)[name](seed=3)
    return model, to_decoder(model)


every_model = pytest.mark.parametrize("name", [*BUILDERS, *RECURRENT])

every_rewindable = pytest.mark.parametrize("name", BUILDERS)

every_recurrent = pytest.mark.parametrize("name", RECURRENT)


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)


def assert_chunks_agree(reference: PreTrainedModel, model: Model, chunking: str) -> None:
    ids = random_ids(30, seed=1)
    close(run_in_chunks(model, new_storage(model), 1, ids, CHUNKINGS[chunking]), reference_logprobs(reference, ids))


def assert_sequences_are_apart(reference: PreTrainedModel, model: Model) -> None:
    """Check texts in flat batches, at different positions and in any slots."""
    texts = {3: random_ids(20, seed=2), 0: random_ids(13, seed=3), 2: random_ids(9, seed=4)}
    counts = {3: [11, 1, 1, 7], 0: [1, 10, 1, 1], 2: [9]}
    for slot, logprobs in run_together(model, new_storage(model), texts, counts).items():
        close(logprobs, reference_logprobs(reference, texts[slot]))


def assert_only_wanted_rows(reference: PreTrainedModel, model: Model) -> None:
    """Check that a pass returns the wanted rows in their order, and stores all keys."""
    ids = random_ids(8, seed=9)
    spans = (BatchSpan(1, 0, 8, 0),)
    some = model.logits(model.forward(batch_of(ids, range(8), spans, [6, 2]), new_storage(model)))
    close(tensor_of(some).log_softmax(-1), reference_logprobs(reference, ids)[[6, 2]])
    kv = new_storage(model)
    none = model.logits(model.forward(batch_of(ids, range(8), spans, []), kv))
    assert tensor_of(none).shape == (0, VOCAB_SIZE)
    (last,) = run_parts(model, kv, [(1, 8, [5])])
    close(last, reference_logprobs(reference, [*ids, 5])[8:])
