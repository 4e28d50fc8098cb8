"""The shape of a lean decoder, and its rotary positions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

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

VECTORS = {
    "input_norm": "input_layernorm",
    "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm",
    "post_norm": "post_attention_layernorm",
    "attention_norm": "self_attn.output_norm",
    "mlp_norm": "mlp.output_norm",
    "sinks": "self_attn.sinks",
}
"""The vectors of a layer, and the names in a checkpoint: a Llama's names, if a Llama has them."""

GATES = ("silu", "gelu", "limited")
"""The functions of an MLP's gate; see ``DecoderConfig``."""


@dataclass(frozen=True, slots=True)
class LayerKind:
    """The attention of a layer.

    ``window`` is the number of visible positions, the query's position included; None is the whole
    text. Without rotation, queries and keys carry no position. A layer with a ``rope_theta``
    rotates by this base, unscaled, instead of the configuration's.
    """

    window: int | None = None
    rotates: bool = True
    rope_theta: float | None = None


@dataclass(frozen=True, slots=True)
class Experts:
    """The experts of every layer's MLP, each with its own three matrices.

    A router scores all experts for a token; the ``active`` experts with the highest scores compute
    the token. Their outputs are added, each times the softmax of its score; ``normalized`` weights
    are divided by their sum (Fedus et al. 2021, arXiv 2101.03961).
    """

    count: int
    active: int
    normalized: bool = True


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """The shape of a decoder.

    ``rotated_dims`` are the first dimensions of a head, or None for all. ``rope_scaling`` is None
    or a transformers ``rope_scaling`` of type linear, llama3 or yarn, or has type longrope and the
    ``divisors`` of all angles. ``kinds`` has an entry for each layer; without entries, every layer
    is a plain LayerKind.

    The scales multiply the embeddings, the scores (None: one divided by the root of ``head_dim``),
    what attention and MLP add to the residual stream, and the logits. Queries are multiplied by 1 +
    ``query_growth`` * ln(1 + i), where i is the number of whole ``query_interval`` positions before
    the query. Scores x become ``score_cap`` * tanh(x / ``score_cap``), and logits likewise; 0 is no
    cap. With ``sinks``, the sum of a head's softmax has one more score, without a value.

    ``gate`` is what the MLP makes of a gate g and the gated number u: silu(g) u, gelu(g) u by the
    tanh formula, or limited: g s(1.702 g) (1 + u) with g at most 7, u from -7 to 7, and s the
    logistic function (gpt-oss).

    ``norms`` are the norms of a layer: ``input_norm`` and ``post_norm`` of the inputs of attention
    and MLP, ``attention_norm`` and ``mlp_norm`` of the outputs. Norms of queries and keys are
    optional, and with ``norms_projections`` over all heads together.

    With ``experts``, ``intermediate_size`` is the width of an expert. A matrix of the MLP has the
    rows of all experts, one expert below the other.
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
    rotated_dims: int | None = None
    rope_scaling: Mapping[str, Any] | None = None
    kinds: tuple[LayerKind, ...] = ()
    embedding_scale: float = 1.0
    attention_scale: float | None = None
    residual_scale: float = 1.0
    logit_scale: float = 1.0
    norms: tuple[str, ...] = ("input_norm", "post_norm")
    norms_projections: bool = False
    query_growth: float = 0.0
    query_interval: int = 1
    score_cap: float = 0.0
    logit_cap: float = 0.0
    sinks: bool = False
    gate: str = "silu"
    experts: Experts | None = None

    @property
    def layer_kinds(self) -> tuple[LayerKind, ...]:
        return self.kinds or (LayerKind(),) * self.layers

    @property
    def rotary_width(self) -> int:
        return self.head_dim if self.rotated_dims is None else self.rotated_dims

    @property
    def rope_thetas(self) -> set[float | None]:
        """The bases of the rotations of all layers; None is the configuration's rotation."""
        return {kind.rope_theta for kind in self.layer_kinds if kind.rotates}

    @property
    def score_scale(self) -> float:
        """The factor of the products of queries and keys."""
        return self.head_dim**-0.5 if self.attention_scale is None else self.attention_scale

    @property
    def body_parameters(self) -> int:
        return self.layers * sum(rows * self.columns[name] for name, rows in self.rows.items())

    @property
    def rows(self) -> dict[str, int]:
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        experts = self.experts.count if self.experts else 1
        return {
            "self_attn.q_proj": queries,
            "self_attn.k_proj": keys,
            "self_attn.v_proj": keys,
            "self_attn.o_proj": self.hidden_size,
            "mlp.gate_proj": experts * self.intermediate_size,
            "mlp.up_proj": experts * self.intermediate_size,
            "mlp.down_proj": experts * self.hidden_size,
        }

    @property
    def vector_sizes(self) -> dict[str, int]:
        """The widths of a layer's vectors, the optional norms of queries and keys included."""
        heads = (self.heads, self.kv_heads) if self.norms_projections else (1, 1)
        inner = {name: count * self.head_dim for name, count in zip(("q_norm", "k_norm"), heads, strict=True)}
        return dict.fromkeys(self.norms, self.hidden_size) | inner | ({"sinks": self.heads} if self.sinks else {})

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

    @property
    def reports_experts(self) -> bool:
        return self.config.experts is not None


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
