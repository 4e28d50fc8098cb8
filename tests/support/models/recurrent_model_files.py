"""Metadata and tensors of LFM2 and Qwen3.5 in GGUF files, as by llama.cpp's conversion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel


def rms_norm_eps(config: PretrainedConfig) -> float:
    eps: float = config.norm_eps if config.model_type == "lfm2" else config.rms_norm_eps
    return eps


def recurrent_metadata(config: PretrainedConfig) -> dict[str, Any]:
    """Return the metadata of the recurrent layers; {} for models of plain attention."""
    if config.model_type == "lfm2":
        width = 2 * config.intermediate_size // 3
        multiple = config.block_multiple_of
        heads = config.num_key_value_heads
        return {
            "feed_forward_length": -(-width // multiple) * multiple,
            "attention__head_count_kv": [heads if kind != "conv" else 0 for kind in config.layer_types],
            "shortconv__l_cache": config.conv_L_cache,
            "vocab_size": config.vocab_size,
        }
    if config.model_type == "qwen3_5_text":
        return {
            "ssm__conv_kernel": config.linear_conv_kernel_dim,
            "ssm__state_size": config.linear_key_head_dim,
            "ssm__group_count": config.linear_num_key_heads,
            "ssm__time_step_rank": config.linear_num_value_heads,
            "ssm__inner_size": config.linear_value_head_dim * config.linear_num_value_heads,
            "attention__recurrent_layers": [kind == "linear_attention" for kind in config.layer_types],
            "full_attention_interval": 4,
            "rope__dimension_count": int(config.head_dim * config.rope_parameters["partial_rotary_factor"]),
            "rope__dimension_sections": [11, 11, 10, 0],
        }
    return {}


def recurrent_tensors(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Yield all tensors of a model, with recurrent layers as in a GGUF file.

    Names are the transformers library's names, except ``dt_bias``, unknown to the package gguf.
    """
    config = model.config
    for name, tensor in model.state_dict().items():
        if name.endswith(("conv.conv.weight", "conv1d.weight")):
            tensor = tensor.squeeze(1)
        if "linear_attn." in name:
            tensor = _tiled(config, name, tensor)
        if name.endswith("A_log"):
            tensor = -torch.exp(tensor)
        yield name.replace(".dt_bias", ".dt_proj"), tensor


def _tiled(config: PretrainedConfig, name: str, tensor: Tensor) -> Tensor:
    """Reorder the value heads: first the first value head of each key head, and so on."""
    keys, dim = 2 * config.linear_num_key_heads * config.linear_key_head_dim, config.linear_value_head_dim
    if ".norm." in name:
        return tensor
    if ".out_proj." in name:
        return _in_tiles(config, tensor.T, dim).T.contiguous()
    if ".in_proj_qkv." in name or ".conv1d." in name:
        return torch.cat((tensor[:keys], _in_tiles(config, tensor[keys:], dim)))
    return _in_tiles(config, tensor, dim if ".in_proj_z." in name else 1)


def _in_tiles(config: PretrainedConfig, rows: Tensor, dim: int) -> Tensor:
    grouped = rows.reshape(config.linear_num_key_heads, -1, dim, *rows.shape[1:])
    return grouped.transpose(0, 1).reshape(rows.shape).contiguous()
