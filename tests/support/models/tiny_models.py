"""Tiny causal models with random weights, and the transformers library's scores without a cache."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    Glm4Config,
    GptOssConfig,
    GraniteConfig,
    GraniteMoeConfig,
    GraniteMoeHybridConfig,
    Lfm2Config,
    LlamaConfig,
    MellumConfig,
    Ministral3Config,
    MistralConfig,
    MixtralConfig,
    Olmo2Config,
    Olmo3Config,
    OlmoeConfig,
    Phi3Config,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3_5TextConfig,
    Qwen3Config,
    Qwen3MoeConfig,
    SmolLM3Config,
)

from pellucid.engine.decoders.decoder import Decoder, DecoderWeights, Layer
from pellucid.engine.decoders.decoder_config import FLOATS
from pellucid.engine.decoders.linear import Linear
from pellucid.engine.decoders.torch_model import as_array
from pellucid.models.families.folder_decoder import shape_by
from pellucid.models.families.registry import BY_MODEL_TYPE

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

_GRANITE_SCALES = {
    "embedding_multiplier": 3.0,
    "attention_multiplier": 0.4,
    "residual_multiplier": 0.7,
    "logits_scaling": 1.5,
}


def tiny(config: PretrainedConfig, seed: int = 0) -> PreTrainedModel:
    """Return a float32 model of this configuration, with random and influential weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        build: Callable[..., PreTrainedModel] = AutoModelForCausalLM.from_config
        return fill_at_random(build(config, attn_implementation="eager", dtype=torch.float32))


def fill_at_random(model: PreTrainedModel) -> PreTrainedModel:
    """Give a model influential weights; return the model."""
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


def tiny_granite(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return a Granite with four scales, all different from one."""
    return tiny(GraniteConfig(**(_SHAPE | _GRANITE_SCALES | overrides)), seed)


def tiny_dense_hybrid(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return a dense Granite 4 as published: a hybrid with attention in every layer."""
    hybrid = {
        "layer_types": ["full_attention"] * 3,
        "num_local_experts": 0,
        "shared_intermediate_size": 80,
        "position_embedding_type": "rope",
        "mamba_n_heads": 12,
        "mamba_d_head": 8,
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.7,
    }
    shape = {name: value for name, value in _SHAPE.items() if name != "head_dim"}
    return tiny(GraniteMoeHybridConfig(**(shape | hybrid | overrides)), seed)


def tiny_smollm3(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return a SmolLM3 of four layers, the last of them without rotation."""
    return tiny(SmolLM3Config(**(_SHAPE | {"num_hidden_layers": 4} | overrides)), seed)


def tiny_olmo2(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return an OLMo 2."""
    return tiny(Olmo2Config(**(_SHAPE | {"hidden_size": 64} | overrides)), seed)


def tiny_olmo3(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return an OLMo 3 of four layers, the first three of them with a window of 7 tokens."""
    return tiny(
        Olmo3Config(**(_SHAPE | {"hidden_size": 64, "num_hidden_layers": 4, "sliding_window": 7} | overrides)), seed
    )


def tiny_gemma(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return a Gemma 1."""
    return tiny(GemmaConfig(**(_SHAPE | {"hidden_size": 64} | overrides)), seed)


def tiny_gemma2(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return a Gemma 2 with caps that matter, and a window of 7 tokens in every other layer."""
    own = {"sliding_window": 7, "query_pre_attn_scalar": 24, "attn_logit_softcapping": 2.0}
    return tiny(Gemma2Config(**(_SHAPE | {"hidden_size": 64, "final_logit_softcapping": 3.0} | own | overrides)), seed)


def tiny_gemma3(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return a Gemma 3 of seven layers, all but the sixth with a window of 7 tokens."""
    rope = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    }
    own = {"num_hidden_layers": 7, "sliding_window": 7, "query_pre_attn_scalar": 16, "rope_parameters": rope}
    return tiny(Gemma3TextConfig(**(_SHAPE | {"hidden_size": 64} | own | overrides)), seed)


def tiny_qwen3_moe(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return a Qwen3 with six experts, of which two compute a token."""
    own = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": True}
    return tiny(Qwen3MoeConfig(**(_SHAPE | own | overrides)), seed)


def tiny_olmoe(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return an OLMoE with five experts, of which three compute a token."""
    own = {"hidden_size": 64, "num_experts": 5, "num_experts_per_tok": 3}
    return tiny(OlmoeConfig(**(_SHAPE | own | overrides)), seed)


def tiny_mixtral(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return a Mixtral with four experts, of which two compute a token."""
    return tiny(MixtralConfig(**(_SHAPE | {"num_local_experts": 4} | overrides)), seed)


def tiny_granite_moe(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return a Granite with five experts, of which two compute a token, and four scales."""
    own = {"num_local_experts": 5, "num_experts_per_tok": 2, "hidden_size": 64}
    shape = {name: value for name, value in _SHAPE.items() if name != "head_dim"}
    return tiny(GraniteMoeConfig(**(shape | own | _GRANITE_SCALES | overrides)), seed)


def tiny_mellum2(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return a Mellum 2 with six experts; the first and the last layer have windows of 7 tokens.

    All layers rotate by the same base, as GGUF files have no other.
    """
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    own = {
        "num_experts": 6,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "sliding_window": 7,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "rope_parameters": {"full_attention": rope, "sliding_attention": rope},
    }
    return tiny(MellumConfig(**(_SHAPE | own | overrides)), seed)


def tiny_gpt_oss(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return a gpt-oss: sinks, experts with biases, a window of 7 tokens in two of three layers."""
    rope = {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 16}
    own = {"num_local_experts": 6, "num_experts_per_tok": 2, "sliding_window": 7, "hidden_size": 64}
    return tiny(GptOssConfig(**(_SHAPE | own | {"rope_parameters": rope} | overrides)), seed)


def tiny_glm4(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return a GLM-4 with biases, half of a head rotated, and a fused gate and ups."""
    rope = {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5}
    return tiny(Glm4Config(**(_SHAPE | {"rope_parameters": rope, "rms_norm_eps": 1e-5} | overrides)), seed)


def tiny_phi3(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return a Phi 3: fused matrices, half of a head rotated, a window, divisors of the angles."""
    rope = {
        "rope_type": "longrope",
        "rope_theta": 100.0,
        "partial_rotary_factor": 0.5,
        "short_factor": [1.0, 1.5, 2.0, 4.0],
        "long_factor": [2.0, 3.0, 4.0, 5.0],
    }
    shape = {name: value for name, value in _SHAPE.items() if name != "head_dim"}
    own = {"hidden_size": 64, "rope_parameters": rope, "original_max_position_embeddings": 128, "sliding_window": 20}
    return tiny(Phi3Config(**(shape | own | overrides)), seed)


def tiny_ministral3(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return a Ministral 3 whose queries grow every 16 tokens."""
    rope = {
        "rope_type": "yarn",
        "rope_theta": 100.0,
        "factor": 4.0,
        "original_max_position_embeddings": 16,
        "beta_fast": 4.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "llama_4_scaling_beta": 0.5,
    }
    return tiny(Ministral3Config(**(_SHAPE | {"rope_parameters": rope} | overrides)), seed)


def tiny_lfm2(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return an LFM2 of four layers, the first and the last with convolutions over four inputs."""
    own = {
        "num_hidden_layers": 4,
        "hidden_size": 64,
        "layer_types": ["conv", "full_attention", "full_attention", "conv"],
        "conv_L_cache": 4,
        "intermediate_size": 144,
        "block_multiple_of": 32,
        "norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0},
    }
    shape = {name: value for name, value in _SHAPE.items() if name != "head_dim"} | {"tie_word_embeddings": True}
    return tiny(Lfm2Config(**(shape | own | overrides)), seed)


def tiny_qwen35(seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """Return a Qwen3.5 of three layers, of which the second has attention; head 0 forgets most."""
    own = {
        "hidden_size": 64,
        "layer_types": ["linear_attention", "full_attention", "linear_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5},
    }
    model = tiny(Qwen3_5TextConfig(**(_SHAPE | own | overrides)), seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("A_log"):  # From a memory of a hundred tokens to less than one token.
                parameter.copy_(torch.linspace(1.5, -5.0, len(parameter)))
    return model


def to_decoder(model: PreTrainedModel) -> Decoder:
    """Return a model as a lean decoder, by config.json and tensor names. Tensors are shared."""
    config = json.loads(model.config.to_json_string(use_diff=False))
    config.pop("quantization_config", None)
    shape = shape_by(Path("config.json"), config)
    assert shape is not None, config
    family = BY_MODEL_TYPE[model.config.model_type]
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        weight: Any = as_array(tensor) if name.endswith("A_log") else tensor.detach()
        for part, value in family.parts(family.our_name(name.removeprefix("model.")), weight, shape):
            shift = family.shift(part)
            tensors[part] = torch.as_tensor(value + shift if shift else value)
    weights = DecoderWeights(
        embedding=tensors["embed_tokens.weight"],
        layers=tuple(_layer(tensors, prefix, shape.parts(kind)) for prefix, kind in shape.layer_prefixes),
        norm=tensors["norm.weight"],
        head=Linear(tensors["lm_head.weight"]),
    )
    return Decoder(shape, weights, "float32 weights on cpu")


def _layer(tensors: Mapping[str, Tensor], prefix: str, parts: Mapping[str, tuple[str, ...]]) -> Layer:
    def fused(name: str) -> Linear:
        """Stack matrices with the same input."""
        weights, biases = (
            [tensors[key] for part in parts[name] if (key := f"{prefix}{part}.{kind}") in tensors]
            for kind in ("weight", "bias")
        )
        weight = weights[0] if len(weights) == 1 else torch.cat(weights)
        return Linear(weight, torch.cat(biases) if biases else None)

    linears: dict[str, Any] = {name: fused(name) for name in parts}
    vectors: dict[str, Any] = {name: tensors.get(f"{prefix}{stored}.weight") for name, stored in FLOATS.items()}
    scores = tensors.get(f"{prefix}mlp.router.weight")
    router = None if scores is None else Linear(scores, tensors.get(f"{prefix}mlp.router.bias"))
    return Layer(**linears, **vectors, router=router)


@torch.inference_mode()
def reference_logprobs(model: PreTrainedModel, ids: list[int]) -> Tensor:
    """Return log-probabilities (len(ids), vocab) after each token, in float32 without a cache."""
    logits: Tensor = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    return logits.float().log_softmax(-1)


def random_ids(count: int, seed: int = 0) -> list[int]:
    """Return a text of ``count`` random tokens."""
    return torch.randint(VOCAB_SIZE, (count,), generator=torch.Generator().manual_seed(seed)).tolist()
