"""The shape of a lean decoder, and its rotary positions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.decoders.lora_matrices import Adapter
from pellucid.engine.model import Model

Floats = NDArray[np.float32]

FUSED = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "o": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
"""The fused matrices of a layer, and the checkpoint matrices with the same input that form each."""


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """The shape of a decoder.

    ``rope_scaling`` is None or a transformers ``rope_scaling`` of type linear or llama3.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    rms_norm_eps: float
    rope_theta: float
    context: int
    rope_scaling: Mapping[str, float | str] | None = None
    sliding_window: int | None = None

    @property
    def body_parameters(self) -> int:
        attention = 2 * self.head_dim * (self.heads + self.kv_heads)
        return self.layers * self.hidden_size * (attention + 3 * self.intermediate_size)

    @property
    def rows(self) -> dict[str, int]:
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "self_attn.q_proj": queries,
            "self_attn.k_proj": keys,
            "self_attn.v_proj": keys,
            "self_attn.o_proj": self.hidden_size,
            "mlp.gate_proj": self.intermediate_size,
            "mlp.up_proj": self.intermediate_size,
            "mlp.down_proj": self.hidden_size,
        }

    @property
    def columns(self) -> dict[str, int]:
        widths = {"self_attn.o_proj": self.heads * self.head_dim, "mlp.down_proj": self.intermediate_size}
        return {name: widths.get(name, self.hidden_size) for name in self.rows}

    @property
    def head_parameters(self) -> int:
        """Number of elements of the head or the embedding."""
        return self.vocab_size * self.hidden_size


class DecoderSizes(ABC):
    """The base of lean decoders: the sizes by the configuration."""

    config: DecoderConfig

    @abstractmethod
    def adapted(self, adapter: Adapter) -> Model:
        """Return an adapted copy that shares the weights; ``weight_bytes`` counts the adapter."""

    @property
    def vocab_size(self) -> int:
        return self.config.vocab_size

    @property
    def context(self) -> int:
        return self.config.context

    @property
    def hidden_size(self) -> int:
        return self.config.hidden_size


def rotary_tables(config: DecoderConfig, positions: int) -> tuple[Floats, Floats]:
    """Return cosines and sines (positions, head_dim) float32."""
    angles = np.arange(positions, dtype=np.float32)[:, None] * inverse_frequencies(config)[None]
    # One half only: for a million positions, the second half takes seconds and a gigabyte.
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate((cos, cos), axis=1), np.concatenate((sin, sin), axis=1)


def inverse_frequencies(config: DecoderConfig) -> Floats:
    """Return the angle per position (head_dim / 2,), scaled by ``rope_scaling``.

    Raises ValueError for an unsupported kind of scaling.
    """
    exponents = np.arange(0, config.head_dim, 2, dtype=np.float32) / np.float32(config.head_dim)
    base: Floats = np.float32(1.0) / np.float32(config.rope_theta) ** exponents
    scaling = config.rope_scaling
    if scaling is None:
        return base
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind == "default":
        return base
    factor = float(scaling["factor"])
    if kind == "linear":
        return base / np.float32(factor)
    if kind == "llama3":  # Llama 3.1: stretch long waves, keep short waves, blend in between.
        low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
        original = float(scaling["original_max_position_embeddings"])
        smooth = np.clip((original * base / (2 * math.pi) - low) / (high - low), 0, 1)
        scaled: Floats = (1 - smooth) * base / factor + smooth * base
        return scaled.astype(np.float32)
    raise ValueError(f"rope_scaling of type {kind!r} is not supported by the lean decoder.")
