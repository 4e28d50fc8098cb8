"""Granite: a Llama with four scales; a dense Granite 4 is stored as a hybrid without experts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pellucid.engine.decoders.decoder_config import DecoderConfig, LayerKind
from pellucid.models.families.experts import expert_parts, routed
from pellucid.models.families.family import MAX_POSITIONS, Family, W, rows_of
from pellucid.models.formats.gguf import GGUF
from pellucid.models.untrusted_files import Json, real, whole

_LARGEST_SCALE = 1e6


class Granite(Family):
    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        return _scaled(path, config, shape)

    def from_gguf(self, file: GGUF, shape: DecoderConfig) -> DecoderConfig:
        def scale(key: str) -> float:
            """Return a scale, or 0: as in llama.cpp, the scale is not used."""
            name = f"{self.architecture}.{key}"
            if not file.metadata.get(name):
                return 0.0
            return real(file.path, file.metadata, name, 1 / _LARGEST_SCALE, _LARGEST_SCALE)

        return replace(
            shape,
            embedding_scale=scale("embedding_scale") or 1.0,
            attention_scale=scale("attention.scale") or None,
            residual_scale=scale("residual_scale") or 1.0,
            logit_scale=1 / (scale("logit_scale") or 1.0),
            kinds=() if file.get(f"{self.architecture}.rope.scaling.finetuned", True) else _unrotated(shape),
        )

    def own_fields(self, shape: DecoderConfig) -> dict[str, Any]:
        return {
            "model_type": "granite",
            "embedding_multiplier": shape.embedding_scale,
            "attention_multiplier": shape.score_scale,
            "residual_multiplier": shape.residual_scale,
            "logits_scaling": 1 / shape.logit_scale,
        }


class DenseHybrid(Granite):
    """A hybrid without Mamba layers and experts: every layer has attention and the shared MLP."""

    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        types = config.get("layer_types") or config.get("layers_block_type")
        if not isinstance(types, list) or len(types) != shape.layers or config.get("num_local_experts") != 0:
            return None
        if any(type not in ("attention", "full_attention") for type in types):
            return None
        return replace(
            _scaled(path, config, shape),
            intermediate_size=whole(path, config, "shared_intermediate_size", 0, MAX_POSITIONS),
            kinds=() if config.get("position_embedding_type") == "rope" else _unrotated(shape),
        )

    def parts(self, name: str, weight: W, shape: DecoderConfig) -> Iterator[tuple[str, W]]:
        if name.endswith("shared_mlp.input_linear.weight"):
            prefix, half = name.removesuffix("shared_mlp.input_linear.weight"), weight.shape[0] // 2
            yield f"{prefix}mlp.gate_proj.weight", rows_of(weight, slice(half))
            yield f"{prefix}mlp.up_proj.weight", rows_of(weight, slice(half, None))
        else:
            yield name.replace("shared_mlp.output_linear", "mlp.down_proj"), weight


class GraniteExperts(Granite):
    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        return routed(path, config, _scaled(path, config, shape), normalized=True)

    def parts(self, name: str, weight: W, shape: DecoderConfig) -> Iterator[tuple[str, W]]:
        return expert_parts(name, weight, shape)


def _scaled(path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig:
    def scale(key: str) -> float:
        return real(path, config, key, 1 / _LARGEST_SCALE, _LARGEST_SCALE, 1.0)

    return replace(
        shape,
        embedding_scale=scale("embedding_multiplier"),
        attention_scale=scale("attention_multiplier"),
        residual_scale=scale("residual_multiplier"),
        logit_scale=1 / scale("logits_scaling"),
    )


def _unrotated(shape: DecoderConfig) -> tuple[LayerKind, ...]:
    return (LayerKind(rotates=False),) * shape.layers


GRANITE = Granite(("granite",), "granite", adjacent_pairs=True)
GRANITE_DENSE_HYBRID = DenseHybrid(("granitemoehybrid",), "")
GRANITE_MOE = GraniteExperts(
    ("granitemoe",),
    "granitemoe",
    adjacent_pairs=True,
    names=(
        ("block_sparse_moe.input_linear.weight", "mlp.experts.gate_up_proj"),
        ("block_sparse_moe.output_linear.weight", "mlp.experts.down_proj"),
        ("block_sparse_moe.router.layer.", "mlp.router."),
        ("block_sparse_moe.", "mlp."),
    ),
)
