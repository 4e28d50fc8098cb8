"""Qwen3.5, dense: gated delta nets in most layers, and attention with gated outputs.

The parts for images and for the prediction of several tokens are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from pellucid.engine.decoders.decoder_config import DecoderConfig, DeltaNet, LayerKind
from pellucid.engine.decoders.quantized_blocks import Blocks, floats
from pellucid.errors import ModelError, NotSupportedError
from pellucid.models.families.family import MAX_LAYERS, MAX_POSITIONS, MAX_TAPS, Family, W, stated_types
from pellucid.models.formats.gguf import GGUF
from pellucid.models.untrusted_files import Json, whole

_INTERVAL = 4
"""Every fourth layer has attention, unless the file states otherwise."""
_MOST_HEADS = 1 << 12
_WIDEST_HEAD = 1 << 12


class DeltaNets(Family):
    def fields(self, path: Path, config: Json) -> Json:
        whole(path, config, "num_hidden_layers", 1, MAX_LAYERS)  # Before lists of layers are made.
        return {"head_dim": 256, "partial_rotary_factor": 0.25, **config}

    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        types = stated_types(path, config, shape)
        if not types:
            interval = whole(path, config, "full_attention_interval", 1, MAX_POSITIONS, _INTERVAL)
            recurrent = _all_but_every(interval, shape.layers)
        elif not set(types) <= {"full_attention", "linear_attention"}:
            return None
        else:
            recurrent = [type == "linear_attention" for type in types]
        delta = DeltaNet(
            key_heads=whole(path, config, "linear_num_key_heads", 1, _MOST_HEADS, 16),
            value_heads=whole(path, config, "linear_num_value_heads", 1, _MOST_HEADS, 32),
            key_dim=whole(path, config, "linear_key_head_dim", 1, _WIDEST_HEAD, 128),
            value_dim=whole(path, config, "linear_value_head_dim", 1, _WIDEST_HEAD, 128),
            taps=whole(path, config, "linear_conv_kernel_dim", 2, MAX_TAPS, 4),
        )
        return _mixing(shape, recurrent, delta)

    def from_gguf(self, file: GGUF, shape: DecoderConfig) -> DecoderConfig:
        def number(key: str, low: int, high: int, default: int | None = None) -> int:
            return whole(file.path, file.metadata, f"qwen35.{key}", low, high, default)

        layers = shape.layers - number("nextn_predict_layers", 0, shape.layers - 1, 0)
        recurrent = file.list_of("qwen35.attention.recurrent_layers", bool)
        if not recurrent:
            recurrent = _all_but_every(number("full_attention_interval", 1, MAX_POSITIONS, _INTERVAL), shape.layers)
        if len(recurrent) != shape.layers:
            raise ModelError(f"{file.path} states the kinds of {len(recurrent)} layers; it must be {shape.layers}.")
        value_heads, inner = number("ssm.time_step_rank", 1, _MOST_HEADS), number("ssm.inner_size", 1, MAX_POSITIONS)
        if inner % value_heads or inner // value_heads > _WIDEST_HEAD:
            raise ModelError(f"{file.path} has {inner} numbers in {value_heads} heads of a delta net: it is damaged.")
        delta = DeltaNet(
            key_heads=number("ssm.group_count", 1, _MOST_HEADS),
            value_heads=value_heads,
            key_dim=number("ssm.state_size", 1, _WIDEST_HEAD),
            value_dim=inner // value_heads,
            taps=number("ssm.conv_kernel", 2, MAX_TAPS),
            tiled=True,
        )
        return _mixing(replace(shape, layers=layers), recurrent[:layers], delta)

    def skips(self, file: GGUF, stored: str) -> bool:
        """Return whether a tensor belongs to a block behind the layers of the decoder."""
        blocks = file.require("qwen35.block_count", int)
        layers = blocks - file.get("qwen35.nextn_predict_layers", 0)
        block, layer, _ = [*stored.split(".", 2), "", ""][:3]
        return block == "blk" and layer.isdecimal() and len(layer) < 8 and layers <= int(layer) < blocks

    def own_fields(self, shape: DecoderConfig) -> dict[str, Any]:
        raise NotSupportedError(
            "Qwen3.5 models cannot be trained or written to a folder: use a model of another family."
        )

    def shift(self, name: str) -> float:
        return 0.0 if name.endswith("mixing.norm.weight") else super().shift(name)

    def parts(self, name: str, weight: W, shape: DecoderConfig) -> Iterator[tuple[str, W]]:
        """Yield queries and gates apart, and the decay itself instead of a logarithm."""
        stored: Any = weight
        prefix, is_query, kind = name.partition("self_attn.q_proj.")
        if is_query and weight.shape[0] == 2 * shape.heads * shape.head_dim:
            yield name, _of_heads(weight, shape.heads, 0)
            yield f"{prefix}self_attn.gate_proj.{kind}", _of_heads(weight, shape.heads, 1)
        elif name.endswith("mixing.log_decay.weight"):
            with np.errstate(over="ignore"):  # The sum of a damaged file.
                yield name.replace("log_decay", "decay"), cast("W", -np.exp(floats(stored)))
        elif name.endswith("mixing.convolution.weight") and len(weight.shape) == 3:  # (channels, 1, taps)
            yield name, stored.reshape(weight.shape[0], -1)
        else:  # A GGUF file has no other names for a delta net's matrix and the norm before the MLP.
            name = name.replace("self_attn.qkv_proj", "mixing.qkv_proj")
            yield name.replace("self_attn.output_norm", "post_attention_layernorm"), weight


def _of_heads(weight: W, heads: int, half: int) -> W:
    """Return the first or the second half of the rows of each head."""
    stored: Any = weight
    cut = partial(_half_of_rows, heads=heads, half=half)
    return cast("W", stored.of_rows(cut) if isinstance(stored, Blocks) else cut(stored))


def _half_of_rows(rows: Any, heads: int, half: int) -> Any:
    return rows.reshape(heads, 2, -1, *rows.shape[1:])[:, half].reshape(-1, *rows.shape[1:])


def _all_but_every(interval: int, layers: int) -> list[bool]:
    """Return whether each layer is recurrent: all except every ``interval``-th."""
    return [(index + 1) % interval != 0 for index in range(layers)]


def _mixing(shape: DecoderConfig, recurrent: list[bool], delta: DeltaNet) -> DecoderConfig:
    kinds = tuple(LayerKind(recurrent=each) for each in recurrent)
    return replace(shape, kinds=kinds, recurrence=delta, gates_attention=True)


_NAMES = (
    ("linear_attn.in_proj_qkv", "mixing.qkv_proj"),
    ("linear_attn.in_proj_z", "mixing.gate_proj"),
    ("linear_attn.in_proj_b", "mixing.beta"),
    ("linear_attn.in_proj_a", "mixing.alpha"),
    ("linear_attn.conv1d", "mixing.convolution"),
    ("linear_attn.A_log", "mixing.log_decay.weight"),
    ("linear_attn.dt_bias", "mixing.decay_bias.weight"),
    ("linear_attn.norm", "mixing.norm"),
    ("linear_attn.out_proj", "mixing.out_proj"),
)

QWEN35 = DeltaNets(
    ("qwen3_5_text",),
    "qwen35",
    names=_NAMES,
    ropes=frozenset({"default"}),
    rotates_parts=True,
    norms_less_one=True,
    unused=("mtp.",),
)
