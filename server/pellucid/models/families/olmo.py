"""OLMo 2 and 3: norms of the outputs of attention and MLP, and of all queries and keys together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pellucid.engine.decoders.decoder_config import DecoderConfig, LayerKind
from pellucid.models.families.family import Family, window_fields, windows_by_type
from pellucid.models.formats.gguf import GGUF
from pellucid.models.untrusted_files import Json

_INTERVAL = 4
"""Every fourth layer of an OLMo 3 sees the whole text; llama.cpp has this number, too."""


class Olmo(Family):
    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        windows = windows_by_type(path, config, shape)
        return None if windows is None else replace(_normed(shape), kinds=_unscaled(windows, shape))

    def from_gguf(self, file: GGUF, shape: DecoderConfig) -> DecoderConfig:
        window = file.get("olmo2.attention.sliding_window", 0) or None
        kinds = (LayerKind(None if (index + 1) % _INTERVAL == 0 else window) for index in range(shape.layers))
        return replace(_normed(shape), kinds=_unscaled(kinds, shape) if window else ())

    def own_fields(self, shape: DecoderConfig) -> dict[str, Any]:
        windows = window_fields(shape) if any(kind.window for kind in shape.layer_kinds) else {}
        return {"model_type": "olmo3" if windows else "olmo2", **windows}


def _unscaled(kinds: Iterable[LayerKind], shape: DecoderConfig) -> tuple[LayerKind, ...]:
    """Return the layers' kinds; positions are scaled only in layers that see the whole text."""
    return tuple(kind if kind.window is None else replace(kind, rope_theta=shape.rope_theta) for kind in kinds)


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
