"""Phi 3 and 4: a Llama with fused matrices, and divisors of the angles (LongRoPE)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.errors import ModelError, NotSupportedError
from pellucid.models.families.family import MAX_POSITIONS, Family, W, split_fused, window_of, windowed
from pellucid.models.formats.gguf import GGUF
from pellucid.models.untrusted_files import Json, real, shown, whole

SHORT_DIVISORS = "rope_factors_short.weight"
_SHARPEST = 1e3


class Phi(Family):
    """The context ends where the divisors for short texts end.

    The transformers library divides by others as soon as a text is longer, which changes the keys
    of all earlier tokens; a cache of keys cannot follow (microsoft/Phi-4-mini-instruct).
    """

    def from_json(self, path: Path, config: Json, shape: DecoderConfig) -> DecoderConfig | None:
        shape = windowed(shape, window_of(path, config))
        scaling = shape.rope_scaling
        if scaling is None:
            return shape
        original = whole(path, {**scaling, **config}, "original_max_position_embeddings", 2, MAX_POSITIONS)
        divisors = scaling.get("short_factor")
        if not isinstance(divisors, list) or not all(isinstance(each, int | float) for each in divisors):
            raise ModelError(f"{path} has {shown(divisors)} for short_factor; it must be a list of numbers.")
        stretch = real(path, scaling, "factor", 0, MAX_POSITIONS, shape.context / original)
        sharpness = real(path, scaling, "attention_factor", 0, _SHARPEST, _sharpness(stretch, original))
        return _within(path, shape, original, divisors, sharpness)

    def from_gguf(self, file: GGUF, shape: DecoderConfig) -> DecoderConfig:
        shape = super().from_gguf(file, shape)
        if SHORT_DIVISORS not in file.tensors:
            return shape
        scaling = "phi3.rope.scaling."
        original = whole(file.path, file.metadata, f"{scaling}original_context_length", 2, MAX_POSITIONS)
        sharpness = _sharpness(shape.context / original, original)
        sharpness = real(file.path, file.metadata, f"{scaling}attn_factor", 0, _SHARPEST, sharpness)
        return _within(file.path, shape, original, file.floats(SHORT_DIVISORS).tolist(), sharpness)

    def parts(self, name: str, weight: W, shape: DecoderConfig) -> Iterator[tuple[str, W]]:
        return split_fused(name, weight, shape)

    def own_fields(self, shape: DecoderConfig) -> dict[str, Any]:
        raise NotSupportedError("Phi models cannot be trained or written to a folder: use a model of another family.")


def _sharpness(stretch: float, original: int) -> float:
    """Return the factor of cosines and sines (LongRoPE, arXiv 2402.13753)."""
    return math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 else 1.0


def _within(
    path: Path, shape: DecoderConfig, original: int, divisors: Sequence[float], sharpness: float
) -> DecoderConfig:
    """Return the shape with the context and the divisors for short texts."""
    if len(divisors) != shape.rotary_width // 2 or not all(0 < each <= MAX_POSITIONS for each in divisors):
        raise ModelError(f"{path} has {shown(divisors)} as divisors of {shape.rotary_width // 2} angles.")
    return replace(
        shape,
        context=min(shape.context, original),
        rope_scaling={"rope_type": "longrope", "divisors": tuple(divisors), "attention_factor": sharpness},
    )


PHI = Phi(
    ("phi3",),
    "phi3",
    ropes=frozenset({"default", "longrope", "su", "yarn"}),
    rotates_parts=True,
    rotary_tensors=frozenset({SHORT_DIVISORS, "rope_factors_long.weight"}),
)
