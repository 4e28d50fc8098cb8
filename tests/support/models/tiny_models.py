"""Tiny causal models with random weights, and the transformers library's scores without a cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from pellucid.engine.decoders.decoder import Decoder, DecoderWeights, Layer
from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.engine.decoders.linear import DenseLinear

VOCAB_SIZE = 97

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,  # Unlike hidden_size / heads, so that no code relies on the quotient.
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
    "tie_word_embeddings": False,
}


def tiny(config: PretrainedConfig, seed: int = 0) -> PreTrainedModel:
    """Return a float32 model of this configuration, with random and influential weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        build: Callable[..., PreTrainedModel] = AutoModelForCausalLM.from_config
        model = build(config, attn_implementation="eager", dtype=torch.float32)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                # The weight of a norm: about one, or about zero for Gemma.
                if name.endswith("weight") and parameter.dim() == 1:
                    parameter.add_(0.2 * torch.randn_like(parameter))
                else:
                    parameter.copy_(
                        torch.randn_like(parameter) / (4 if parameter.dim() == 1 else parameter.shape[-1] ** 0.5)
                    )
    model.train(False)
    return model


def tiny_llama(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return a Llama; ``overrides`` are fields of the configuration."""
    return tiny(LlamaConfig(**(_SHAPE | overrides)), seed)


def tiny_mistral(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return a Mistral with a window of 7 tokens in every layer."""
    return tiny(MistralConfig(**(_SHAPE | {"sliding_window": 7} | overrides)), seed)


def tiny_qwen2(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return a Qwen2: biases, a tied head, and a head_dim of hidden_size / heads."""
    shape = {name: value for name, value in _SHAPE.items() if name != "head_dim"} | {"tie_word_embeddings": True}
    return tiny(Qwen2Config(**(shape | overrides)), seed)


def tiny_qwen3(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return a Qwen3: norms on queries and keys."""
    return tiny(Qwen3Config(**(_SHAPE | overrides)), seed)


def to_decoder(model: PreTrainedModel) -> Decoder:
    """Return a model as a lean decoder, with shared embedding, norms and tied head."""
    config = model.config
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rope = dict(config.rope_parameters)
    shape = DecoderConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=head_dim,
        rms_norm_eps=config.rms_norm_eps,
        rope_theta=rope.pop("rope_theta"),
        context=config.max_position_embeddings,
        rope_scaling=None if rope["rope_type"] == "default" else rope,
        sliding_window=getattr(config, "sliding_window", None),
    )
    body: Any = model.model
    weights = DecoderWeights(
        embedding=body.embed_tokens.weight.detach(),
        layers=tuple(_layer(layer) for layer in body.layers),
        norm=body.norm.weight.detach(),
        head=_fused(model.lm_head),
    )
    return Decoder(shape, weights, "float32 weights on cpu")


def _layer(layer: Any) -> Layer:
    attention, mlp = layer.self_attn, layer.mlp
    normed = hasattr(attention, "q_norm")
    return Layer(
        input_norm=layer.input_layernorm.weight.detach(),
        qkv=_fused(attention.q_proj, attention.k_proj, attention.v_proj),
        q_norm=attention.q_norm.weight.detach() if normed else None,
        k_norm=attention.k_norm.weight.detach() if normed else None,
        o=_fused(attention.o_proj),
        post_norm=layer.post_attention_layernorm.weight.detach(),
        gate_up=_fused(mlp.gate_proj, mlp.up_proj),
        down=_fused(mlp.down_proj),
    )


def _fused(*linears: Any) -> DenseLinear:
    """Stack matrices with the same input."""
    if len(linears) == 1 and linears[0].bias is None:
        return DenseLinear(linears[0].weight.detach())
    weight = torch.cat([linear.weight.detach() for linear in linears])
    biases = [linear.bias.detach() for linear in linears if linear.bias is not None]
    assert len(biases) in (0, len(linears))
    return DenseLinear(weight, torch.cat(biases) if biases else None)


@torch.inference_mode()
def reference_logprobs(model: PreTrainedModel, ids: list[int]) -> Tensor:
    """Return log-probabilities (len(ids), vocab) after each token, in float32 without a cache."""
    logits: Tensor = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    return logits.float().log_softmax(-1)


def random_ids(count: int, seed: int = 0) -> list[int]:
    """Return a text of ``count`` random tokens."""
    return torch.randint(VOCAB_SIZE, (count,), generator=torch.Generator().manual_seed(seed)).tolist()
