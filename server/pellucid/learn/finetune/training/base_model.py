"""Loads a base model as a frozen transformers model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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

from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.engine.decoders.torch_packing import multiplies_bfloat16
from pellucid.errors import InvalidRequestError, ModelError, NotSupportedError
from pellucid.models.catalog import InfillFormat, infill_format
from pellucid.models.formats.folder_decoder import FAMILIES
from pellucid.models.load import find_device, open_checkpoint, split_quant
from pellucid.models.store import Store
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.system.progress import Progress

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Base:
    """A frozen model. ``infill`` is None without infill markers."""

    name: str
    fingerprint: str
    tokenizer: Tokenizer
    infill: InfillFormat | None
    model: PreTrainedModel


def read_base(name_or_path: str, device: str, *, store: Store, progress: Progress) -> Base:
    """Load a base model, in bfloat16 if the device multiplies bfloat16 fast, else in float32."""
    name, quant = split_quant(name_or_path)
    if quant is not None:
        raise InvalidRequestError(f"Training reads the stored weights: remove @{quant} from {name_or_path}.")
    where = torch.device(find_device(device))
    checkpoint = open_checkpoint(name, store=store, progress=progress)
    if checkpoint.config is None:
        raise NotSupportedError(f"{name} is of a family that cannot be trained: use a model of {', '.join(FAMILIES)}.")
    progress.start(f"reading {checkpoint.name}", None)
    dtype = training_dtype(where)
    model = build(checkpoint.config, {name: weight.to(dtype) for name, weight in checkpoint.weights()}, where)
    tokenizer = checkpoint.tokenizer(checkpoint.config.vocab_size)
    return Base(
        checkpoint.name, checkpoint.fingerprint, tokenizer, infill_format(tokenizer.special, checkpoint.entry), model
    )


def training_dtype(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if multiplies_bfloat16(device.type) else torch.float32


def build(config: DecoderConfig, weights: Mapping[str, Tensor], device: torch.device = CPU) -> PreTrainedModel:
    """Build the frozen model."""
    shape = _config_of(config, weights)
    make: Callable[..., PreTrainedModel] = AutoModelForCausalLM.from_config
    dtype = weights["norm.weight"].dtype
    with torch.device("meta"):
        model = make(shape, attn_implementation="sdpa", dtype=dtype)
    head = weights.get("lm_head.weight", weights["embed_tokens.weight"])
    named = {f"model.{name}": weight for name, weight in weights.items() if name != "lm_head.weight"} | {
        "lm_head.weight": head
    }
    try:
        model.load_state_dict(named, strict=True, assign=True)
    except RuntimeError as error:
        raise ModelError(
            f"The weights are not those of a {shape.model_type} model ({str(error).splitlines()[-1].strip()})."
        ) from None
    body: Any = model.model
    body.rotary_emb = type(body.rotary_emb)(config=shape)  # Computed tables, not weights.
    model.requires_grad_(requires_grad=False)
    model.train(False)
    placed: Any = model
    placed.to(device)
    return model


def _config_of(config: DecoderConfig, weights: Mapping[str, Tensor]) -> PretrainedConfig:
    rope: dict[str, Any] = {"rope_type": "default", **(config.rope_scaling or {}), "rope_theta": config.rope_theta}
    shape: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "rms_norm_eps": config.rms_norm_eps,
        "max_position_embeddings": config.context,
        "rope_parameters": rope,
        "tie_word_embeddings": "lm_head.weight" not in weights,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    attention = "layers.0.self_attn"
    biased, window = f"{attention}.q_proj.bias" in weights, config.sliding_window
    windowed: dict[str, Any] = {
        "sliding_window": window,
        "use_sliding_window": window is not None,
        "max_window_layers": 0,
    }
    if f"{attention}.q_norm.weight" in weights:
        return Qwen3Config(**shape, **windowed, attention_bias=biased)
    if biased and f"{attention}.o_proj.bias" not in weights:
        return Qwen2Config(**shape, **windowed)
    if window is not None:
        return MistralConfig(**shape, sliding_window=window)
    return LlamaConfig(**shape, attention_bias=biased)
