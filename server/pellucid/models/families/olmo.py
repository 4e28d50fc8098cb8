"""OLMo 2 and 3: norms of the outputs of attention and MLP, and of all queries and keys together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pellucid.engine.decoders.decoder_config import DecoderConfig, LayerKind
from pellucid.models.families.family import Family, window_fields, window_of, windows_by_type
from pellucid.models.formats.gguf import GGUF
from pellucid.models.untrusted_files import Json, real

_INTERVAL = 4
"""Every fourth layer of an OLMo 3 sees the whole text; llama.cpp has this number, too."""


class Olmo(Family):
    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        kinds = windows_by_type(path, config, shape)
        if not kinds and config.get("model_type") == "olmo3":
            kinds = _every_fourth(shape, window_of(path, config))
        given = config.get("rope_parameters")
        sliding = given.get("sliding_attention") if isinstance(given, dict) else None
        stated = {"rope_type": "default", "rope_theta": shape.rope_theta, **(sliding or {})}
        if kinds is None or stated["rope_type"] != "default":
            return None
        return replace(_normed(shape), kinds=_unscaled(kinds, real(path, stated, "rope_theta", 1, 1e15)))

    def from_gguf(self, file: GGUF, shape: DecoderConfig) -> DecoderConfig:
        window = file.get("olmo2.attention.sliding_window", 0)
        kinds = _every_fourth(shape, window) if window else ()
        return replace(_normed(shape), kinds=_unscaled(kinds, shape.rope_theta))

    def own_fields(self, shape: DecoderConfig) -> dict[str, Any]:
        thetas = [kind.rope_theta for kind in shape.layer_kinds if kind.window is not None]
        if not thetas:
            return {"model_type": "olmo2"}
        rope = {"rope_type": "default", **(shape.rope_scaling or {}), "rope_theta": shape.rope_theta}
        return {
            "model_type": "olmo3",
            **window_fields(shape),
            "rope_scaling": None,
            "rope_parameters": {
                "full_attention": rope,
                "sliding_attention": {"rope_type": "default", "rope_theta": thetas[0]},
            },
        }


def _every_fourth(shape: DecoderConfig, window: int | None) -> tuple[LayerKind, ...]:
    """Return the kinds of layers of which every fourth layer sees the whole text."""
    return tuple(LayerKind(None if (index + 1) % _INTERVAL == 0 else window) for index in range(shape.layers))


def _unscaled(kinds: Iterable[LayerKind], theta: float) -> tuple[LayerKind, ...]:
    """Return the kinds of layers; positions are scaled only in layers that see the whole text."""
    return tuple(kind if kind.window is None else replace(kind, rope_theta=theta) for kind in kinds)


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
