"""Ministral 3: a Mistral whose queries grow with the position, by YaRN's original context."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.models.families.family import MAX_POSITIONS, Family, window_of, windowed
from pellucid.models.formats.gguf import GGUF
from pellucid.models.untrusted_files import Json, real, whole


class Ministral(Family):
    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        shape = windowed(shape, window_of(path, config))
        scaling = dict(shape.rope_scaling or {})
        growth = real(path, scaling, "llama_4_scaling_beta", 0, 1e3, 0.0)
        if not growth:
            return shape
        interval = whole(path, scaling, "original_max_position_embeddings", 1, MAX_POSITIONS)
        return replace(shape, query_growth=growth, query_interval=interval)

    def from_gguf(self, file: GGUF, shape: DecoderConfig) -> DecoderConfig:
        growth = real(file.path, file.metadata, "mistral3.attention.temperature_scale", 0, 1e3, 0.0)
        if not growth:
            return shape
        key = "mistral3.rope.scaling.original_context_length"
        interval = whole(file.path, file.metadata, key, 1, MAX_POSITIONS)
        return replace(shape, query_growth=growth, query_interval=interval)

    def own_fields(self, shape: DecoderConfig) -> dict[str, Any]:
        scaling = {**(shape.rope_scaling or {"rope_type": "default"}), "llama_4_scaling_beta": shape.query_growth}
        return {
            "model_type": "ministral3",
            "sliding_window": shape.layer_kinds[0].window,
            "rope_scaling": None,
            "rope_parameters": {
                "original_max_position_embeddings": shape.query_interval,
                **scaling,
                "rope_theta": shape.rope_theta,
            },
        }


MINISTRAL = Ministral(("ministral3",), "mistral3", adjacent_pairs=True)
