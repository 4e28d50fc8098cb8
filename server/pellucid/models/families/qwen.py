"""Qwen2, with biases on queries, keys and values, and Qwen3, with norms on queries and keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pellucid.engine.decoders.decoder_config import DecoderConfig, LayerKind
from pellucid.models.families.family import (
    MAX_POSITIONS,
    Family,
    window_fields,
    window_of,
    windows_by_type,
)
from pellucid.models.untrusted_files import Json, whole

_WHOLE_TEXT_LAYERS = 28
"""The transformers library's number of layers without a window, if config.json states no number."""


class Qwen(Family):
    """The first ``max_window_layers`` layers see the whole text even if the model has windows."""

    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        if config.get("layer_types"):
            kinds = windows_by_type(path, config, shape)
            return None if kinds is None else replace(shape, kinds=kinds)
        if not config.get("use_sliding_window"):
            return shape
        whole_text = whole(path, config, "max_window_layers", 0, MAX_POSITIONS, _WHOLE_TEXT_LAYERS)
        window = window_of(path, config)
        return replace(
            shape, kinds=tuple(LayerKind(None if index < whole_text else window) for index in range(shape.layers))
        )

    def own_fields(self, shape: DecoderConfig) -> dict[str, Any]:
        return {"model_type": self.model_types[0], "max_window_layers": 0, **window_fields(shape)}


QWEN2 = Qwen(("qwen2",), "qwen2")
QWEN3 = Qwen(("qwen3",), "qwen3")
