"""Gemma 1 to 3: scaled embeddings, a gelu as gate, and norms that a folder stores less one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.models.families.family import (
    MAX_POSITIONS,
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
from pellucid.models.untrusted_files import Json, real, whole

_LARGEST_CAP = 1e6
_LOCAL_THETA = 10000.0

_DEFAULTS: Json = {
    "vocab_size": 262208,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 131072,
}
"""Fields that the folders of Gemma 3 with images leave to the transformers library."""


class Gemma(Family):
    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        return None if config.get("use_bidirectional_attention") else _scaled(shape)

    def from_gguf(self, file: GGUF, shape: DecoderConfig) -> DecoderConfig:
        return _scaled(shape)


class Gemma2(Gemma):
    """Also norms of outputs, windows in every other layer, and caps of scores and logits."""

    whole_text_interval: ClassVar = 2
    window_of_gguf: ClassVar = 4096
    """The window of a GGUF file that states no window, as in llama.cpp."""
    usual_caps: ClassVar = (50.0, 30.0)
    scores_by_width: ClassVar = 46
    """The layers of the largest model, whose scores are scaled by the width a head would have.

    A GGUF file does not state the scale; llama.cpp has these numbers of layers, too.
    """

    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        config = {"sliding_window": 4096, **config}
        scaled, kinds = super().from_json(path, config, shape), windows_by_type(path, config, shape)
        if scaled is None or kinds is None:
            return None
        pattern = "sliding_window_pattern" if self.architecture == "gemma3" else ""  # Gemma 2 ignores the pattern.
        interval = whole(path, config, pattern, 1, MAX_POSITIONS, self.whole_text_interval)
        score_cap, logit_cap = (
            0.0 if key in config and config[key] is None else real(path, config, key, 0, _LARGEST_CAP, usual)
            for key, usual in zip(("attn_logit_softcapping", "final_logit_softcapping"), self.usual_caps, strict=True)
        )
        return replace(
            _with_output_norms(scaled),
            kinds=kinds or every_nth_whole(shape, interval, window_of(path, config)),
            attention_scale=real(path, config, "query_pre_attn_scalar", 1e-6, 1e12, 256.0) ** -0.5,
            score_cap=score_cap,
            logit_cap=logit_cap,
        )

    def from_gguf(self, file: GGUF, shape: DecoderConfig) -> DecoderConfig:
        def cap(key: str, usual: float) -> float:
            return real(file.path, file.metadata, f"{self.architecture}.{key}_logit_softcapping", 0, 1e6, usual)

        prefix, interval = f"{self.architecture}.attention.sliding_window", self.whole_text_interval
        window = whole(file.path, file.metadata, prefix, 0, MAX_POSITIONS, self.window_of_gguf) or None
        interval = whole(file.path, file.metadata, f"{prefix}_pattern", 1, MAX_POSITIONS, interval)
        width = shape.hidden_size // shape.heads if shape.layers == self.scores_by_width else shape.head_dim
        return replace(
            _with_output_norms(_scaled(shape)),
            kinds=every_nth_whole(shape, interval, window),
            attention_scale=width**-0.5,
            score_cap=cap("attn", self.usual_caps[0]),
            logit_cap=cap("final", self.usual_caps[1]),
        )

    def own_fields(self, shape: DecoderConfig) -> dict[str, Any]:
        return {
            "model_type": self.model_types[0],
            "query_pre_attn_scalar": round(shape.score_scale**-2),
            "attn_logit_softcapping": shape.score_cap or None,
            "final_logit_softcapping": shape.logit_cap or None,
            **window_fields(shape),
        }


class Gemma3(Gemma2):
    """Norms of queries and keys instead of caps; layers with a window rotate by their own base."""

    whole_text_interval: ClassVar = 6
    window_of_gguf: ClassVar = 0
    usual_caps: ClassVar = (0.0, 0.0)
    scores_by_width: ClassVar = 62

    def fields(self, path: Path, config: Json) -> Json:
        return _DEFAULTS | config

    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        capped = super().from_json(path, config, shape)
        theta = sliding_theta(path, config, config.get("rope_local_base_freq") or _LOCAL_THETA)
        if capped is None or theta is None or capped.score_cap:  # The transformers library ignores this cap.
            return None
        return replace(capped, kinds=unscaled(capped.kinds, theta))

    def from_gguf(self, file: GGUF, shape: DecoderConfig) -> DecoderConfig:
        theta = real(file.path, file.metadata, "gemma3.rope.freq_base_swa", 1, 1e15, _LOCAL_THETA)
        capped = super().from_gguf(file, shape)
        return replace(capped, kinds=unscaled(capped.kinds, theta))

    def own_fields(self, shape: DecoderConfig) -> dict[str, Any]:
        return super().own_fields(shape) | ropes_by_type(shape, _LOCAL_THETA)


def _scaled(shape: DecoderConfig) -> DecoderConfig:
    return replace(shape, embedding_scale=shape.hidden_size**0.5, gate="gelu")


def _with_output_norms(shape: DecoderConfig) -> DecoderConfig:
    return replace(shape, norms=("input_norm", "post_norm", "attention_norm", "mlp_norm"))


_GELU = "gelu_pytorch_tanh"
_NAMES = (
    ("post_attention_layernorm", "self_attn.output_norm"),
    ("pre_feedforward_layernorm", "post_attention_layernorm"),
    ("post_feedforward_layernorm", "mlp.output_norm"),
)

# The first files of Gemma 1 say "gelu", and mean the tanh formula, too.
GEMMA = Gemma(("gemma",), "gemma", gates=(_GELU, "gelu"), norms_less_one=True)
GEMMA2 = Gemma2(("gemma2",), "gemma2", names=_NAMES, gate_key="hidden_activation", gates=(_GELU,), norms_less_one=True)
GEMMA3 = Gemma3(
    ("gemma3_text",),
    "gemma3",
    names=_NAMES,
    gate_key="hidden_activation",
    gates=(_GELU,),
    norms_less_one=True,
    usual_theta=1e6,
)
