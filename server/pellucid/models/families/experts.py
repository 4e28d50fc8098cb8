"""Families whose MLPs have experts: Qwen3's, Mixtral, OLMoE, Mellum 2 and gpt-oss.

A folder has a tensor for each expert or a tensor of three dimensions for all experts of a layer;
the decoder has a matrix with all experts, one expert below the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.decoders.decoder_config import DecoderConfig, Experts, LayerKind
from pellucid.engine.decoders.quantized_blocks import floats
from pellucid.errors import ModelError
from pellucid.models.families.family import (
    MAX_POSITIONS,
    Family,
    W,
    sliding_theta,
    unscaled,
    window_of,
    windowed,
    windows_by_type,
)
from pellucid.models.formats.gguf import GGUF
from pellucid.models.untrusted_files import Json, whole

MAX_EXPERTS = 1 << 12
"""Eight times the largest published number."""

_ONE_EXPERT = re.compile(r"(layers\.\d+\.mlp\.)experts\.(\d+)\.((?:gate|up|down)_proj)\.weight")
_MIXTRAL = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}


def routed(path: Path, config: Json, shape: DecoderConfig, *, normalized: bool) -> DecoderConfig | None:
    """Return the shape with the experts of config.json; None if the experts are not stated."""
    count = next((key for key in ("num_experts", "num_local_experts") if config.get(key)), None)
    if count is None:
        return None
    active = whole(path, config, "num_experts_per_tok", 1, MAX_EXPERTS)
    return replace(
        shape,
        intermediate_size=whole(path, config, "moe_intermediate_size", 1, MAX_POSITIONS, shape.intermediate_size),
        experts=Experts(whole(path, config, count, 1, MAX_EXPERTS), active, normalized),
    )


def expert_parts(name: str, weight: Any, shape: DecoderConfig) -> Iterator[tuple[str, Any]]:
    """Yield the matrices of a tensor (experts, rows, columns), or any other weight itself."""
    prefix, has_all, kind = name.partition("experts.")
    if has_all and kind in ("gate_up_proj", "down_proj") and len(weight.shape) == 3:
        width, columns = shape.intermediate_size, weight.shape[2]
        if kind == "down_proj":
            yield f"{prefix}down_proj.weight", weight.reshape(-1, columns)
        else:
            yield f"{prefix}gate_proj.weight", weight[:, :width].reshape(-1, columns)
            yield f"{prefix}up_proj.weight", weight[:, width:].reshape(-1, columns)
    else:
        yield name, weight


def gathered(weights: Iterable[tuple[str, NDArray[Any]]], shape: DecoderConfig) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield weights; the tensors of single experts are joined when all have come."""
    waiting: dict[str, dict[int, NDArray[Any]]] = {}
    count = shape.experts.count if shape.experts else 0
    for name, weight in weights:
        match = _ONE_EXPERT.fullmatch(name)
        if match is None or int(match[2]) >= count:
            yield name, weight
            continue
        whole_name = f"{match[1]}{match[3]}.weight"
        parts = waiting.setdefault(whole_name, {})
        parts[int(match[2])] = weight
        if len(parts) == count:
            del waiting[whole_name]
            is_mixed = len({part.dtype for part in parts.values()}) > 1
            stacked = np.stack([floats(parts[i]) if is_mixed else parts[i] for i in range(count)])
            yield whole_name, stacked.reshape(-1, stacked.shape[-1])


class ExpertFamily(Family):
    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        return routed(path, config, shape, normalized=config.get("norm_topk_prob") is True)

    def parts(self, name: str, weight: W, shape: DecoderConfig) -> Iterator[tuple[str, W]]:
        return expert_parts(name, weight, shape)


class Qwen3Experts(ExpertFamily):
    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        if config.get("mlp_only_layers") or config.get("decoder_sparse_step", 1) != 1:
            return None
        window = window_of(path, config) if config.get("use_sliding_window") else None
        return super().from_json(path, config, windowed(shape, window))


class Mixtral(ExpertFamily):
    """In GGUF files, a Llama with experts."""

    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        return routed(path, config, windowed(shape, window_of(path, config)), normalized=True)

    def our_name(self, stored: str) -> str:
        if not stored.endswith(tuple(f"{part}.weight" for part in _MIXTRAL)):
            return super().our_name(stored)
        prefix, part, _ = stored.replace("block_sparse_moe", "mlp").rsplit(".", 2)
        return f"{prefix}.{_MIXTRAL[part]}.weight"


class Olmoe(ExpertFamily):
    """A Qwen3 with experts, whose queries and keys are normed over all heads together."""

    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        if config.get("clip_qkv") is not None:
            return None
        return super().from_json(path, config, replace(shape, norms_projections=True))

    def from_gguf(self, file: GGUF, shape: DecoderConfig) -> DecoderConfig:
        return replace(shape, norms_projections=True)


class Mellum2(ExpertFamily):
    """A Qwen3 with experts, whose layers with a window rotate by a base of their own.

    In GGUF files as computed by llama.cpp, all layers rotate by the same base.
    """

    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        kinds = windows_by_type(path, config, shape)
        theta = sliding_theta(path, config, 10000.0)
        if kinds is None or theta is None or set(config.get("mlp_layer_types") or ()) - {"sparse"}:
            return None
        normalized = config.get("norm_topk_prob", True) is True
        return routed(path, config, replace(shape, kinds=unscaled(kinds, theta)), normalized=normalized)

    def from_gguf(self, file: GGUF, shape: DecoderConfig) -> DecoderConfig:
        window = file.get("mellum.attention.sliding_window", 0)
        slides = file.list_of("mellum.attention.sliding_window_pattern", bool) if window else []
        if len(slides) not in (0, shape.layers):
            raise ModelError(f"{file.path} has {len(slides)} windows of layers; it must have {shape.layers}.")
        return replace(shape, kinds=tuple(LayerKind(window if has_window else None) for has_window in slides))

    def parts(self, name: str, weight: W, shape: DecoderConfig) -> Iterator[tuple[str, W]]:
        """Yield nothing for a tensor of the prediction of several tokens."""
        return iter(()) if name.startswith("mtp.") else super().parts(name, weight, shape)


class GptOss(ExpertFamily):
    """Experts with biases and limited gates; every head has a sink."""

    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        if config.get("swiglu_limit", 7.0) != 7 or config.get("swiglu_alpha", 1.702) != 1.702:
            return None
        kinds = windows_by_type(path, config, shape)
        if kinds is None:
            return None
        kinds = kinds or _every_second(shape, window_of(path, config))
        return routed(path, config, replace(_limited(shape), kinds=kinds), normalized=True)

    def from_gguf(self, file: GGUF, shape: DecoderConfig) -> DecoderConfig:
        window = file.get("gpt-oss.attention.sliding_window", 0) or None
        return replace(_limited(shape), kinds=_every_second(shape, window))

    def parts(self, name: str, weight: W, shape: DecoderConfig) -> Iterator[tuple[str, W]]:
        all_rows: Any = weight
        prefix, _, kind = name.partition("experts.")
        if kind == "gate_up_proj":  # (experts, hidden, 2 * width): columns of the gate and of the gated in turn.
            yield f"{prefix}gate_proj.weight", all_rows[:, :, ::2].swapaxes(1, 2).reshape(-1, weight.shape[1])
            yield f"{prefix}up_proj.weight", all_rows[:, :, 1::2].swapaxes(1, 2).reshape(-1, weight.shape[1])
        elif kind == "gate_up_proj_bias":
            yield f"{prefix}gate_proj.bias", all_rows[:, ::2].reshape(-1)
            yield f"{prefix}up_proj.bias", all_rows[:, 1::2].reshape(-1)
        elif kind == "down_proj":
            yield f"{prefix}down_proj.weight", all_rows.swapaxes(1, 2).reshape(-1, weight.shape[1])
        elif kind == "down_proj_bias":
            yield f"{prefix}down_proj.bias", all_rows.reshape(-1)
        else:  # A GGUF file calls the norm of the MLP's input a norm of attention's output.
            yield name.replace("self_attn.output_norm", "post_attention_layernorm"), weight


def _limited(shape: DecoderConfig) -> DecoderConfig:
    return replace(shape, sinks=True, gate="limited")


def _every_second(shape: DecoderConfig, window: int | None) -> tuple[LayerKind, ...]:
    """Return the kinds of layers: the first layer has the window, the second has not, and so on."""
    return tuple(LayerKind(None if index % 2 else window) for index in range(shape.layers))


_ROUTER = ("mlp.gate.", "mlp.router.")
QWEN3_MOE = Qwen3Experts(("qwen3_moe",), "qwen3moe", names=(_ROUTER,))
OLMOE = Olmoe(("olmoe",), "olmoe", names=(_ROUTER,), normalizes_experts=False)
MELLUM2 = Mellum2(("mellum",), "mellum", names=(_ROUTER,), usual_theta=500000.0)
GPT_OSS = GptOss(("gpt_oss",), "gpt-oss", names=(("self_attn.sinks", "self_attn.sinks.weight"),), usual_theta=150000.0)
MIXTRAL = Mixtral(("mixtral",), "", names=(("block_sparse_moe.gate.", "mlp.router."), _ROUTER), usual_theta=1e6)
