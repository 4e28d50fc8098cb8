"""The shape of a lean decoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.decoders.lora_matrices import Adapter
from pellucid.engine.model import Model

Floats = NDArray[np.float32]

MATRICES = ("qkv", "o", "gate_up", "down")
"""The fused matrices of a layer: input and output of the mixing, and of the MLP."""

FLOATS = {
    "input_norm": "input_layernorm",
    "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm",
    "post_norm": "post_attention_layernorm",
    "attention_norm": "self_attn.output_norm",
    "mlp_norm": "mlp.output_norm",
    "sinks": "self_attn.sinks",
    "convolution": "mixing.convolution",
    "beta": "mixing.beta",
    "alpha": "mixing.alpha",
    "decay": "mixing.decay",
    "decay_bias": "mixing.decay_bias",
    "mixing_norm": "mixing.norm",
}
"""A layer's weights that are not fused, and the names in a checkpoint: Llama's, if it has them."""

GATES = ("silu", "gelu", "limited")
"""The functions of an MLP's gate; see ``DecoderConfig``."""


@dataclass(frozen=True, slots=True)
class LayerKind:
    """The mixing of a layer: attention, or the configuration's recurrence.

    ``window`` is the number of visible positions, the query's position included; None is the whole
    text. Without rotation, queries and keys carry no position. A layer with a ``rope_theta``
    rotates by this base, unscaled, instead of the configuration's.
    """

    window: int | None = None
    rotates: bool = True
    rope_theta: float | None = None
    recurrent: bool = False


@dataclass(frozen=True, slots=True)
class ShortConvolution:
    """A gated causal convolution of each channel over the last ``taps`` positions (LFM2).

    One matrix makes numbers b, c and x (hidden each) of a token; the layer mixes c * conv(b * x).
    """

    taps: int

    def matrix_shapes(self, hidden: int) -> dict[str, tuple[int, int]]:
        """Return rows and columns of the matrices before and after the mixing, in order."""
        return {"mixing.in_proj": (3 * hidden, hidden), "mixing.out_proj": (hidden, hidden)}

    def float_shapes(self, hidden: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights that are multiplied as floats; see FLOATS."""
        return {"convolution": (hidden, self.taps)}

    def state_size(self, hidden: int) -> int:
        """Return the numbers of a layer's state: the last inputs (taps - 1, hidden)."""
        return (self.taps - 1) * hidden


@dataclass(frozen=True, slots=True)
class DeltaNet:
    """A gated delta rule (Yang et al. 2024, arXiv 2412.06464), as in Qwen3.5.

    Queries, keys and values pass a causal convolution over the last ``taps`` positions and silu.
    Each value head has a state (key_dim, value_dim). ``tiled``: value head h belongs to key head
    h % key_heads, as in GGUF files; else to key head h // (value_heads / key_heads).
    """

    taps: int
    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    tiled: bool = False

    @property
    def keys(self) -> int:
        """The width of the keys of all heads, which is the width of the queries."""
        return self.key_heads * self.key_dim

    @property
    def values(self) -> int:
        return self.value_heads * self.value_dim

    @property
    def channels(self) -> int:
        """The number of convolved channels: queries, then keys, then values."""
        return 2 * self.keys + self.values

    def matrix_shapes(self, hidden: int) -> dict[str, tuple[int, int]]:
        """See ShortConvolution."""
        inputs = {"mixing.qkv_proj": (self.channels, hidden), "mixing.gate_proj": (self.values, hidden)}
        return inputs | {"mixing.out_proj": (hidden, self.values)}

    def float_shapes(self, hidden: int) -> dict[str, tuple[int, ...]]:
        """See ShortConvolution."""
        heads = self.value_heads
        shapes: dict[str, tuple[int, ...]] = {"convolution": (self.channels, self.taps)}
        shapes |= {"beta": (heads, hidden), "alpha": (heads, hidden), "decay": (heads,), "decay_bias": (heads,)}
        return shapes | {"mixing_norm": (self.value_dim,)}

    def state_size(self, hidden: int) -> int:
        """Return the numbers of a layer's state.

        The last inputs of the convolution (taps - 1, channels), then the matrices of the delta rule
        (value_heads, key_dim, value_dim).
        """
        return (self.taps - 1) * self.channels + self.values * self.key_dim


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

    ``rope_axes`` (rotary_width / 2) is the axis of each angle in a model of images with
    two-dimensional positions: 0 time, 1 height, 2 width. Without entries, images have the positions
    of text.

    With ``experts``, ``intermediate_size`` is the width of an expert. A matrix of the MLP has the
    rows of all experts, one expert below the other.

    With ``gates_attention``, what a head mixes is multiplied by the logistic function of a gate,
    another projection of the layer's input. ``recurrence`` is the mixing of recurrent layers.
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
    gates_attention: bool = False
    recurrence: ShortConvolution | DeltaNet | None = None
    rope_axes: tuple[int, ...] = ()

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
    def layer_prefixes(self) -> Iterator[tuple[str, LayerKind]]:
        """Yield the beginning of each layer's names, and the layer's kind."""
        return ((f"layers.{index}.", kind) for index, kind in enumerate(self.layer_kinds))

    @property
    def body_parameters(self) -> int:
        return sum(rows * columns for kind in self.layer_kinds for rows, columns in self.matrix_shapes(kind).values())

    def parts(self, kind: LayerKind) -> dict[str, tuple[str, ...]]:
        """Return a layer's fused matrices, and the checkpoint matrices that form each.

        The parts of a fused matrix have the same input.
        """
        *inputs, output = (name for name in self.matrix_shapes(kind) if not name.startswith("mlp."))
        mlp = ("mlp.gate_proj", "mlp.up_proj"), ("mlp.down_proj",)
        return dict(zip(MATRICES, (tuple(inputs), (output,), *mlp), strict=True))

    def matrix_shapes(self, kind: LayerKind) -> dict[str, tuple[int, int]]:
        """Return rows and columns of a layer's checkpoint matrices, in order."""
        hidden, queries, keys = self.hidden_size, self.heads * self.head_dim, self.kv_heads * self.head_dim
        width, experts = self.intermediate_size, self.experts.count if self.experts else 1
        if kind.recurrent:
            assert self.recurrence is not None
            shapes = self.recurrence.matrix_shapes(hidden)
        else:
            shapes = {"self_attn.q_proj": (queries, hidden)}
            shapes |= dict.fromkeys(("self_attn.k_proj", "self_attn.v_proj"), (keys, hidden))
            shapes |= {"self_attn.gate_proj": (queries, hidden)} if self.gates_attention else {}
            shapes["self_attn.o_proj"] = (hidden, queries)
        shapes |= dict.fromkeys(("mlp.gate_proj", "mlp.up_proj"), (experts * width, hidden))
        return shapes | {"mlp.down_proj": (experts * hidden, width)}

    def float_shapes(self, kind: LayerKind) -> dict[str, tuple[int, ...]]:
        """Return the shapes of a layer's weights of FLOATS, optional norms included."""
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(self.norms, (self.hidden_size,))
        if kind.recurrent:
            assert self.recurrence is not None
            return shapes | self.recurrence.float_shapes(self.hidden_size)
        heads = (self.heads, self.kv_heads) if self.norms_projections else (1, 1)
        shapes |= {name: (count * self.head_dim,) for name, count in zip(("q_norm", "k_norm"), heads, strict=True)}
        return shapes | ({"sinks": (self.heads,)} if self.sinks else {})

    @property
    def attention_layers(self) -> int:
        return sum(not kind.recurrent for kind in self.layer_kinds)

    @property
    def layer_state_size(self) -> int:
        """The float32 numbers of a recurrent layer's state."""
        return 0 if self.recurrence is None else self.recurrence.state_size(self.hidden_size)

    @property
    def state_size(self) -> int:
        """The float32 numbers of the states of all recurrent layers, in order."""
        return (self.layers - self.attention_layers) * self.layer_state_size

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
