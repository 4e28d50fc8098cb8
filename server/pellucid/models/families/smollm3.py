"""SmolLM3: a Llama in which every fourth layer does not rotate queries and keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pellucid.engine.decoders.decoder_config import DecoderConfig, LayerKind
from pellucid.errors import ModelError
from pellucid.models.families.family import Family, window_fields, window_of, windows_by_type
from pellucid.models.formats.gguf import GGUF
from pellucid.models.untrusted_files import Json, shown, whole

_INTERVAL = 4
"""A GGUF file does not state the interval; llama.cpp has this number, too."""


class SmolLM3(Family):
    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        windows = windows_by_type(path, config, shape)
        if windows is None:
            return None
        rotating = config.get("no_rope_layers")
        if rotating is None:
            interval = whole(path, config, "no_rope_layer_interval", 1, 1 << 20, _INTERVAL)
            rotating = [int((index + 1) % interval != 0) for index in range(shape.layers)]
        if not isinstance(rotating, list) or len(rotating) != shape.layers or not set(rotating) <= {0, 1}:
            raise ModelError(
                f"{path} has {shown(rotating)} for no_rope_layers; it must be a list of {shape.layers} zeros and ones."
            )
        if not windows:  # As in the transformers library, only layers without rotation have a window.
            window = window_of(path, config) if config.get("use_sliding_window") else None
            windows = tuple(LayerKind(None if rotates else window) for rotates in rotating)
        return replace(
            shape, kinds=tuple(replace(kind, rotates=bool(one)) for kind, one in zip(windows, rotating, strict=True))
        )

    def from_gguf(self, file: GGUF, shape: DecoderConfig) -> DecoderConfig:
        return replace(
            shape, kinds=tuple(LayerKind(rotates=(index + 1) % _INTERVAL != 0) for index in range(shape.layers))
        )

    def own_fields(self, shape: DecoderConfig) -> dict[str, Any]:
        rotating = [int(kind.rotates) for kind in shape.layer_kinds]
        return {"model_type": "smollm3", "no_rope_layers": rotating, **window_fields(shape)}


SMOLLM3 = SmolLM3(("smollm3",), "smollm3", adjacent_pairs=True)
