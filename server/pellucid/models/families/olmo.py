"""OLMo 2 and 3: norms of the outputs of attention and MLP, and of all queries and keys together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.models.families.family import (
    Family,
    every_nth_whole,
    ropes_by_type,
    sliding_theta,
    unscaled,
    window_fields,
    window_of,
    windows_by_type,
)
from pellucid.models.formats.gguf import GGUF
from pellucid.models.untrusted_files import Json

_INTERVAL = 4
"""Every fourth layer of an OLMo 3 sees the whole text; llama.cpp has this number, too."""


class Olmo(Family):
    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        kinds = windows_by_type(path, config, shape)
        if not kinds and config.get("model_type") == "olmo3":
            kinds = every_nth_whole(shape, _INTERVAL, window_of(path, config))
        theta = sliding_theta(path, config, shape.rope_theta)
        return None if kinds is None or theta is None else replace(_normed(shape), kinds=unscaled(kinds, theta))

    def from_gguf(self, file: GGUF, shape: DecoderConfig) -> DecoderConfig:
        window = file.get("olmo2.attention.sliding_window", 0)
        kinds = every_nth_whole(shape, _INTERVAL, window) if window else ()
        return replace(_normed(shape), kinds=unscaled(kinds, shape.rope_theta))

    def own_fields(self, shape: DecoderConfig) -> dict[str, Any]:
        if all(kind.window is None for kind in shape.layer_kinds):
            return {"model_type": "olmo2"}
        return {"model_type": "olmo3", **window_fields(shape), **ropes_by_type(shape, shape.rope_theta)}


def _normed(shape: DecoderConfig) -> DecoderConfig:
    return replace(shape, norms=("attention_norm", "mlp_norm"), norms_projections=True)


OLMO = Olmo(
    ("olmo2", "olmo3"),
    "olmo2",
    names=(
        ("post_attention_layernorm", "self_attn.output_norm"),
        ("post_feedforward_layernorm", "mlp.output_norm"),
    ),
)
