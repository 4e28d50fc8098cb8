"""Rotary positions of a lean decoder (Su et al. 2021, arXiv 2104.09864), scaled for long texts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pellucid.engine.decoders.decoder_config import DecoderConfig, Floats


def rotary_tables(config: DecoderConfig, positions: int, theta: float | None = None) -> tuple[Floats, Floats]:
    """Return cosines and sines (positions, rotary_width) float32.

    ``theta`` is a layer's own base; see ``LayerKind``.
    """
    if theta is not None:
        config = replace(config, rope_theta=theta, rope_scaling=None)
    angles = np.arange(positions, dtype=np.float32)[:, None] * inverse_frequencies(config)[None]
    # One half only: for a million positions, the second half takes seconds and a gigabyte.
    cos, sin = (half * np.float32(_rotary_factor(config)) for half in (np.cos(angles), np.sin(angles)))
    return np.concatenate((cos, cos), axis=1), np.concatenate((sin, sin), axis=1)


def inverse_frequencies(config: DecoderConfig) -> Floats:
    """Return the angle per position (rotary_width / 2,), scaled by ``rope_scaling``.

    Raises ValueError for an unsupported kind of scaling.
    """
    width = config.rotary_width
    exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    base: Floats = np.float32(1.0) / np.float32(config.rope_theta) ** exponents
    scaling = config.rope_scaling
    if scaling is None:
        return base
    kind = scaling["rope_type"]
    if kind == "longrope":
        divisors: Floats = np.asarray(scaling["divisors"], np.float32)
        return base / divisors
    factor = float(scaling["factor"])
    if kind == "linear":
        return base / np.float32(factor)
    if kind == "llama3":  # Llama 3.1: stretch long waves, keep short waves, blend in between.
        low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
        original = float(scaling["original_max_position_embeddings"])
        smooth = np.clip((original * base / (2 * math.pi) - low) / (high - low), 0, 1)
        scaled: Floats = (1 - smooth) * base / factor + smooth * base
        return scaled.astype(np.float32)
    if kind == "yarn":
        return _yarn_frequencies(config, base, scaling)
    raise ValueError(f"rope_scaling of type {kind!r} is not supported by the lean decoder.")


def _yarn_frequencies(config: DecoderConfig, base: Floats, scaling: Mapping[str, Any]) -> Floats:
    """Stretch waves that turn seldom in the original context, keep waves that turn often.

    In between the frequencies are blended (Peng et al. 2023, arXiv 2309.00071, section 3.2).
    """
    width, original = config.rotary_width, float(scaling["original_max_position_embeddings"])

    def wave(rotations: float) -> float:
        """Return the index of the wave that turns so often in the original context."""
        return width * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(config.rope_theta))

    low, high = wave(float(scaling.get("beta_fast") or 32.0)), wave(float(scaling.get("beta_slow") or 1.0))
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    ramp = np.clip((np.arange(len(base), dtype=np.float32) - low) / max(high - low, 0.001), 0, 1)
    blended: Floats = base / np.float32(scaling["factor"]) * ramp + base * (1 - ramp)
    return blended.astype(np.float32)


def _rotary_factor(config: DecoderConfig) -> float:
    """Return the factor of cosines and sines that sharpens attention over long texts."""
    scaling = config.rope_scaling
    if scaling is None or scaling.get("rope_type") not in ("yarn", "longrope"):
        return 1.0
    if scaling.get("attention_factor"):
        return float(scaling["attention_factor"])
    factor = float(scaling["factor"])

    def sharpness(mscale: float) -> float:
        return 0.1 * mscale * math.log(factor) + 1.0 if factor > 1 else 1.0

    mscale, over_all = float(scaling.get("mscale") or 0.0), float(scaling.get("mscale_all_dim") or 0.0)
    return sharpness(mscale) / sharpness(over_all) if mscale and over_all else sharpness(1.0)
