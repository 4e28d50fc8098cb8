"""A decoder in a GGUF file: configuration, and weights by Hugging Face name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.decoders.decoder_config import DecoderConfig, Experts
from pellucid.engine.decoders.quantized_blocks import Blocks, Weight
from pellucid.engine.decoders.rotary_positions import inverse_frequencies
from pellucid.errors import ModelError
from pellucid.models.families.decoder_config_check import check
from pellucid.models.families.family import Family
from pellucid.models.families.registry import BY_ARCHITECTURE
from pellucid.models.formats.gguf import GGUF
from pellucid.models.formats.gguf_blocks import as_blocks
from pellucid.models.untrusted_files import damage_explained, shown

_OUTER = {
    "token_embd.weight": "embed_tokens.weight",
    "output_norm.weight": "norm.weight",
    "token_embd_norm.weight": "norm.weight",  # LFM2's name of the last norm.
    "output.weight": "lm_head.weight",
}
_INNER = {
    "attn_norm.weight": "input_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_qkv.weight": "self_attn.qkv_proj.weight",
    "attn_gate.weight": "mixing.gate_proj.weight",
    "attn_q.bias": "self_attn.q_proj.bias",
    "attn_k.bias": "self_attn.k_proj.bias",
    "attn_v.bias": "self_attn.v_proj.bias",
    "attn_sinks.weight": "self_attn.sinks.weight",
    "attn_q_norm.weight": "self_attn.q_norm.weight",
    "attn_k_norm.weight": "self_attn.k_norm.weight",
    "post_attention_norm.weight": "self_attn.output_norm.weight",
    "post_ffw_norm.weight": "mlp.output_norm.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "attn_output.bias": "self_attn.o_proj.bias",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
    "ffn_gate_inp.weight": "mlp.router.weight",
    "ffn_gate_inp.bias": "mlp.router.bias",
    "ffn_gate_exps.bias": "mlp.gate_proj.bias",
    "ffn_up_exps.bias": "mlp.up_proj.bias",
    "ffn_down_exps.bias": "mlp.down_proj.bias",
    "shortconv.in_proj.weight": "mixing.in_proj.weight",
    "shortconv.conv.weight": "mixing.convolution.weight",
    "shortconv.out_proj.weight": "mixing.out_proj.weight",
    "ssm_conv1d.weight": "mixing.convolution.weight",
    "ssm_beta.weight": "mixing.beta.weight",
    "ssm_alpha.weight": "mixing.alpha.weight",
    "ssm_a": "mixing.decay.weight",
    "ssm_dt.bias": "mixing.decay_bias.weight",
    "ssm_norm.weight": "mixing.norm.weight",
    "ssm_out.weight": "mixing.out_proj.weight",
    "ffn_gate_exps.weight": "mlp.gate_proj.weight",
    "ffn_up_exps.weight": "mlp.up_proj.weight",
    "ffn_down_exps.weight": "mlp.down_proj.weight",
}
_ROPE_FACTORS = "rope_freqs.weight"
_HALVES = {"F16": np.float16, "BF16": np.uint16}
_SOFTMAX = 1  # llama.cpp's number of the function of the router's scores.


def read_config(file: GGUF) -> DecoderConfig:
    """Read the decoder's shape."""
    with damage_explained(file.path):
        return _read_config(file)


def _read_config(file: GGUF) -> DecoderConfig:
    if number := file.get("split.no", 0):
        raise ModelError(f"{file.path} is file {number + 1} of a model: name the first file instead.")
    arch = file.require("general.architecture", str)
    family = family_of(file)
    if "token_embd.weight" not in file.tensors:
        raise ModelError(
            f"{file.path} has no tensor token_embd.weight, so it is only part of a model: use a complete file."
        )
    hidden = file.require(f"{arch}.embedding_length", int)
    heads = file.require(f"{arch}.attention.head_count", int)
    head_dim = file.get(f"{arch}.attention.key_length", hidden // max(heads, 1))
    rotated = file.get(f"{arch}.rope.dimension_count", head_dim)
    if rotated != head_dim and family.adjacent_pairs:
        raise ModelError(
            f"{file.path} rotates only {rotated} of {head_dim} dimensions of a head, "
            f"which is not supported for {arch}: use the model's safetensors folder."
        )
    config = DecoderConfig(
        vocab_size=next(iter(file.tensors["token_embd.weight"].shape), 0),
        hidden_size=hidden,
        intermediate_size=file.require(f"{arch}.feed_forward_length", int),
        layers=file.require(f"{arch}.block_count", int),
        heads=heads,
        kv_heads=family.kv_heads(file, heads),
        head_dim=head_dim,
        rotated_dims=None if rotated == head_dim else rotated,
        rms_norm_eps=file.require(f"{arch}.attention.layer_norm_rms_epsilon", float),
        rope_theta=file.get(f"{arch}.rope.freq_base", 10000.0),
        context=file.require(f"{arch}.context_length", int),
    )
    config = _with_experts(file, arch, config, normalized=family.normalizes_experts)
    check(file.path, config)  # First, because families and scaling compute with the values.
    config = family.from_gguf(file, config)
    if config.layers > len(file.tensors):
        raise ModelError(
            f"{file.path} is damaged: it has {config.layers} layers by its metadata, but {len(file.tensors)} tensors."
        )
    return check(file.path, _with_scaling(file, arch, config))


def _with_experts(file: GGUF, arch: str, config: DecoderConfig, *, normalized: bool) -> DecoderConfig:
    count = file.get(f"{arch}.expert_count", 0)
    if not count:
        return config
    for name, usual in (("expert_gating_func", _SOFTMAX), ("expert_group_count", 0), ("expert_weights_scale", 0.0)):
        if (stated := file.get(f"{arch}.{name}", usual)) not in (usual, 1):
            raise ModelError(f"{file.path} has {stated:g} for {name}, which is not supported: use another model.")
    return replace(
        config,
        intermediate_size=file.get(f"{arch}.expert_feed_forward_length", config.intermediate_size),
        experts=Experts(count, file.require(f"{arch}.expert_used_count", int), normalized),
    )


def family_of(file: GGUF) -> Family:
    """Return the model's family. Raise ModelError for an unknown family."""
    arch = file.require("general.architecture", str)
    if arch not in BY_ARCHITECTURE:
        raise ModelError(
            f"{file.path} has the architecture {shown(arch)}; "
            f"only GGUF files of {', '.join(BY_ARCHITECTURE)} are supported: "
            "use the model's safetensors folder."
        )
    return BY_ARCHITECTURE[arch]


def read_weights(file: GGUF, *, blocks: bool = False) -> Iterator[tuple[str, Weight]]:
    """Yield all weights by Hugging Face name without ``model.``.

    A tied head has no ``lm_head.weight``. Weights are float32; with ``blocks``, stored blocks stay
    blocks.
    """
    with damage_explained(file.path):
        file.check_complete()
        config = read_config(file)
        family = family_of(file)
        for stored in file.tensors:
            if stored != _ROPE_FACTORS and not family.skips(file, stored):
                name, weight = _read_weight(file, config, stored, blocks=blocks, interleaved=family.adjacent_pairs)
                yield from family.parts(name, weight, config)


def stored_sizes(file: GGUF) -> Iterator[tuple[str, int]]:
    """Yield the stored bytes of each weight, by Hugging Face name without ``model.``."""
    family = family_of(file)
    return (
        (_hugging_face_name(stored) or stored, file.stored_bytes(stored))
        for stored in file.tensors
        if not family.skips(file, stored)
    )


def _read_weight(
    file: GGUF, config: DecoderConfig, stored: str, *, blocks: bool, interleaved: bool
) -> tuple[str, Weight]:
    name = _hugging_face_name(stored)
    if name is None:
        raise ModelError(f"{file.path} has a tensor {shown(stored)}, which is not supported for its architecture.")
    weight = _as_stored(file, stored) if blocks else file.floats(stored)
    if "_exps." in stored and not isinstance(weight, Blocks):  # (experts, rows, columns) or (experts, rows)
        weight = weight.reshape(-1) if stored.endswith(".bias") else weight.reshape(-1, weight.shape[-1])
    if interleaved and (".self_attn.q_proj." in name or ".self_attn.k_proj." in name):
        if weight.shape[0] % config.head_dim:
            raise ModelError(
                f"{file.path} is damaged: "
                f"{stored} has {weight.shape[0]} rows, not a multiple of a head's {config.head_dim}."
            )
        split = partial(_split_halves, head_dim=config.head_dim)
        weight = weight.of_rows(split) if isinstance(weight, Blocks) else split(weight)
    return name, weight


def _as_stored(file: GGUF, stored: str) -> Weight:
    rows, kind = file.stored_rows(stored)
    if kind in _HALVES:
        return rows.view(_HALVES[kind]).reshape(file.tensors[stored].shape)
    return as_blocks(rows, kind) or file.floats(stored)


def _hugging_face_name(stored: str) -> str | None:
    if stored in _OUTER:
        return _OUTER[stored]
    block, layer, rest = [*stored.split(".", 2), "", ""][:3]
    if block == "blk" and layer.isdecimal() and rest in _INNER:
        return f"layers.{layer}.{_INNER[rest]}"
    return None


def _split_halves(weight: NDArray[Any], head_dim: int) -> NDArray[Any]:
    """Reorder rows from GGUF's rotary pairs (2i, 2i+1) to half-split layout (i, i + head_dim/2)."""
    pairs = weight.reshape(-1, head_dim // 2, 2, *weight.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(weight.shape)


def _with_scaling(file: GGUF, arch: str, config: DecoderConfig) -> DecoderConfig:
    if config.rope_scaling is not None:  # Read by the family.
        return config
    for name, usual in (("attn_factor", 1.0), ("yarn_attn_factor", 1.0), ("yarn_ext_factor", 1.0)):
        if (stated := file.get(f"{arch}.rope.scaling.{name}", usual)) != usual:
            raise ModelError(f"{file.path} has {stated:g} for rope.scaling.{name}, which is not supported for {arch}.")
    kind = file.get(f"{arch}.rope.scaling.type", "none")
    factor = file.get(f"{arch}.rope.scaling.factor", file.get(f"{arch}.rope.scale_linear", 1.0))
    if kind == "linear" or (kind == "none" and factor != 1.0):
        return replace(config, rope_scaling={"rope_type": "linear", "factor": factor}) if factor != 1.0 else config
    if kind == "yarn":
        return replace(config, rope_scaling=_yarn(file, arch, factor))
    if kind != "none":
        raise ModelError(
            f"{file.path} scales its positions by {shown(kind)}, which is not supported: use a file without it."
        )
    if _ROPE_FACTORS in file.tensors:
        return _with_llama3_scaling(file, config)
    return config


def _yarn(file: GGUF, arch: str, factor: float) -> dict[str, float | str]:
    scaling: dict[str, float | str] = {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": float(file.require(f"{arch}.rope.scaling.original_context_length", int)),
    }
    for name in ("beta_fast", "beta_slow"):
        if value := file.get(f"{arch}.rope.scaling.yarn_{name}", 0.0):
            scaling[name] = value
    if over_all := file.get(f"{arch}.rope.scaling.yarn_log_multiplier", 0.0):
        scaling |= {"mscale": 1.0, "mscale_all_dim": over_all}
    return scaling


def _with_llama3_scaling(file: GGUF, config: DecoderConfig) -> DecoderConfig:
    """Return the configuration with Llama 3.1's scaling, inferred from GGUF's divisors."""
    divisors = file.floats(_ROPE_FACTORS)
    factor = float(divisors.max())
    if factor == 1.0:
        return config
    scaling = {
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192.0,
    }
    scaled = replace(config, rope_scaling={"rope_type": "llama3", **scaling})
    expected = inverse_frequencies(config) / inverse_frequencies(scaled)
    if divisors.shape != expected.shape or not np.allclose(divisors, expected, rtol=1e-3):
        raise ModelError(
            f"{file.path} scales its positions in an unknown way ({_ROPE_FACTORS}), which is not supported."
        )
    return scaled
