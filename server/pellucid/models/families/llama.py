"""Llama, and models with Llama's names and computation.

Among these models are Mistral, SmolLM2, Seed-Coder, Mellum and DeepSeek-Coder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.models.families.family import Family, window_of, windowed
from pellucid.models.untrusted_files import Json


class Llama(Family):
    """In GGUF files, Mistral is a Llama, too."""

    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        return windowed(shape, window_of(path, config) if config.get("model_type") == "mistral" else None)

    def own_fields(self, shape: DecoderConfig) -> dict[str, Any]:
        window = shape.layer_kinds[0].window
        return {"model_type": "llama"} if window is None else {"model_type": "mistral", "sliding_window": window}


LLAMA = Llama(("llama", "mistral"), "llama", adjacent_pairs=True)
