"""The lean decoder: Llama and all families of ``models/families/``.

RMSNorm, rotary positions, grouped queries and a gated MLP. Windows, layers without rotation,
recurrent layers, scales, biases, tied heads, and norms of queries, keys and outputs are set by
configuration. This is the reference in torch operations, for any device and dtype; see
``native/native_decoder.py`` for the native path.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.engine.decoders.attention import Scoring, attend, attend_rows, capped, store, store_rows
from pellucid.engine.decoders.decode_graphs import DecodeGraphs, DecodeRows, shape_of
from pellucid.engine.decoders.decoder_config import DecoderConfig, DecoderSizes, DeltaNet, Floats, LayerKind
from pellucid.engine.decoders.linear import Linear, LowRankLinear
from pellucid.engine.decoders.lora_matrices import Adapter
from pellucid.engine.decoders.recurrence import DeltaInputs, delta_net, short_convolution
from pellucid.engine.decoders.rotary_positions import rotary_tables
from pellucid.engine.decoders.torch_model import TensorStorage, TorchModel, dtype_name
from pellucid.engine.model import Batch, BatchSpan, CacheShape, KVStorage, TokenCost


@dataclass(frozen=True, slots=True)
class Layer:
    """The weights of one layer; matrices with the same input are fused."""

    input_norm: Tensor | None
    qkv: Linear
    q_norm: Tensor | None
    k_norm: Tensor | None
    o: Linear
    attention_norm: Tensor | None
    post_norm: Tensor | None
    router: Linear | None
    gate_up: Linear
    down: Linear
    mlp_norm: Tensor | None
    sinks: Tensor | None
    convolution: Tensor | None
    beta: Tensor | None
    alpha: Tensor | None
    decay: Tensor | None
    decay_bias: Tensor | None
    mixing_norm: Tensor | None


@dataclass(frozen=True, slots=True)
class DecoderWeights:
    """All weights; ``embedding`` is (vocab, hidden)."""

    embedding: Tensor
    layers: tuple[Layer, ...]
    norm: Tensor
    head: Linear


Attention = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Scoring], Tensor]
"""Writes k and v into a layer's storage and attends over the storage.

Takes q, k, v, and the storage's keys and values; returns (T, heads, head_dim).
"""


class Decoder(DecoderSizes, TorchModel):
    """The decoder on torch operations. Activations and cache have the dtype of the norms."""

    def __init__(self, config: DecoderConfig, weights: DecoderWeights, description: str) -> None:
        self.config = config
        self.weights = weights
        self.description = description
        self.dtype = weights.norm.dtype
        self.device = weights.norm.device
        self._rotary = RotaryTensors(config, self.device, self.dtype)
        self._shared = 0  # Bytes of weights owned by another decoder.
        self._graphs: tuple[TensorStorage, Mapping[float | None, Sequence[Tensor]], DecodeGraphs] | None = None

    def adapted(self, adapter: Adapter) -> Decoder:
        """Return an adapted copy that shares the weights; ``weight_bytes`` counts the adapter."""
        twin = copy.copy(self)
        layers = tuple(
            self._adapted_layer(adapter, prefix, kind, layer)
            for (prefix, kind), layer in zip(self.config.layer_prefixes, self.weights.layers, strict=True)
        )
        twin.weights = replace(self.weights, layers=layers)
        twin.description = f"{self.description}, an adapter of rank {adapter.rank}"
        twin._shared = self.weight_bytes + self._shared
        twin._graphs = None
        return twin

    def _adapted_layer(self, adapter: Adapter, prefix: str, kind: LayerKind, layer: Layer) -> Layer:
        linears: dict[str, Linear] = {"qkv": layer.qkv, "o": layer.o, "gate_up": layer.gate_up, "down": layer.down}
        shapes = self.config.matrix_shapes(kind)
        for name, parts in self.config.parts(kind).items():
            changes = adapter.of(prefix, parts)
            if any(changes):
                linears[name] = LowRankLinear(
                    linears[name], changes, [shapes[part][0] for part in parts], self.dtype, self.device
                )
        return replace(layer, qkv=linears["qkv"], o=linears["o"], gate_up=linears["gate_up"], down=linears["down"])

    @property
    def cache_shape(self) -> CacheShape:
        c = self.config
        dtype, device = dtype_name(self.dtype), str(self.device)
        return CacheShape(c.attention_layers, c.kv_heads, c.head_dim, dtype, device, c.state_size)

    @property
    def weight_bytes(self) -> int:
        head, embedding = self.weights.head, self.weights.embedding
        tied = head.weight.data_ptr() == embedding.data_ptr()
        return self._matrix_bytes + (0 if tied else embedding.nbytes) - self._shared

    @property
    def cost(self) -> TokenCost | None:
        if self.config.experts is not None:
            return None
        return TokenCost(
            self._matrix_bytes, self.config.body_parameters, self.config.head_parameters, dtype_name(self.dtype)
        )

    @property
    def _matrix_bytes(self) -> int:
        """Size of all multiplied matrices: an embedding counts only if tied to the head."""
        weights = self.weights
        linears = [
            weights.head,
            *(w for layer in weights.layers for w in (layer.qkv, layer.o, layer.gate_up, layer.down)),
        ]
        return sum(linear.nbytes for linear in linears)

    @torch.inference_mode()
    def forward(self, batch: Batch, kv: KVStorage) -> Tensor:
        assert isinstance(kv, TensorStorage)
        c = self.config
        self._rotary.cover(min(kv.keys[0].shape[2], self.context))
        # The choice of experts is read by the CPU, each step writes other states, and images bring
        # embeddings and positions of their own.
        has_image = batch.axes is not None or batch.embedded is not None
        if self.device.type == "cuda" and c.experts is None and c.recurrence is None and not has_image:
            shape = shape_of(batch.spans, kv.keys[0].shape[2])
            hidden = None if shape is None else self._graphs_of(kv).run(partial(self.decode, kv=kv), shape, batch)
            if hidden is not None:
                return hidden

        def attention(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, scoring: Scoring) -> Tensor:
            store(keys, values, k, v, batch.spans)
            return attend(q, keys, values, batch.spans, scoring)

        ids, positions, rows = self.indices(batch)
        choices: list[tuple[Tensor, Tensor]] = []
        x = self._embedded(ids, batch.embedded)
        axes = None if batch.axes is None else torch.from_numpy(batch.axes).to(self.device)
        x = self._layers(x, positions, attention, kv, choices, batch.spans, axes)
        if batch.choices is not None:
            numbers, weights = (torch.stack([one[rows] for one in found]).cpu() for found in zip(*choices, strict=True))
            batch.choices.take(numbers.int().numpy(), weights.numpy())
        return rms_norm(x[rows], self.weights.norm, self.config.rms_norm_eps)

    @torch.inference_mode()
    def decode(self, rows: DecodeRows, kv: TensorStorage) -> Tensor:
        """Run one token per sequence; return all hidden states (R, hidden)."""
        self._rotary.cover(min(kv.keys[0].shape[2], self.context))

        def attention(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, scoring: Scoring) -> Tensor:
            store_rows(keys, values, k, v, rows)
            return attend_rows(q, keys, values, rows, scoring)

        x = self._layers(self._embedded(rows.ids), rows.positions, attention, kv, [], ())
        return rms_norm(x, self.weights.norm, self.config.rms_norm_eps)

    def head(self, hidden: Tensor) -> Tensor:
        logits = self.weights.head(hidden) * self.config.logit_scale
        return capped(logits, self.config.logit_cap) if self.config.logit_cap else logits

    def _graphs_of(self, kv: TensorStorage) -> DecodeGraphs:
        tables = self._rotary.tables  # Graphs read the recorded tables.
        if self._graphs is None or self._graphs[0] is not kv or self._graphs[1] is not tables:
            self._graphs = kv, tables, DecodeGraphs(self.device)
        return self._graphs[2]

    def _embedded(self, ids: Tensor, given: Floats | None = None) -> Tensor:
        """Return the inputs (T, hidden) of the first layer; ``given`` is ``Batch.embedded``."""
        x = F.embedding(ids.clamp(min=0), self.weights.embedding).to(self.dtype) * self.config.embedding_scale
        if given is not None:
            x[ids < 0] = torch.from_numpy(given).to(self.device, self.dtype)[-1 - ids[ids < 0]]
        return x

    def _waves(self, positions: Tensor, axes: Tensor | None) -> dict[float | None, list[Tensor]]:
        """Return cosines and sines (T, 1, rotary_width) of each rotation."""
        if axes is None or not self.config.rope_axes:
            return {
                theta: [table[positions, None] for table in tables] for theta, tables in self._rotary.tables.items()
            }
        angles = torch.arange(self.config.rotary_width, device=self.device)
        turned = axes[:, [*self.config.rope_axes, *self.config.rope_axes]]  # (T, rotary_width)
        return {
            theta: [table[turned, angles][:, None] for table in tables] for theta, tables in self._rotary.tables.items()
        }

    def _layers(
        self,
        x: Tensor,
        positions: Tensor,
        attention: Attention,
        kv: TensorStorage,
        choices: list[tuple[Tensor, Tensor]],
        spans: tuple[BatchSpan, ...],
        axes: Tensor | None = None,
    ) -> Tensor:
        """Return the output of the last layer (T, hidden) for inputs x (T, hidden).

        ``axes`` is ``Batch.axes``. Add each layer's experts and their weights, both (T, active), to
        ``choices``.
        """
        eps = self.config.rms_norm_eps
        waves = self._waves(positions, axes)
        scale = self.config.residual_scale
        growth, intervals = self.config.query_growth, (positions // self.config.query_interval).float()
        caches = iter(zip(kv.keys, kv.values, strict=True))
        states = iter(torch.split(kv.states, self.config.layer_state_size or 1, dim=1))
        for layer, kind in zip(self.weights.layers, self.config.layer_kinds, strict=True):
            normed = _normed(x, layer.input_norm, eps)
            if kind.recurrent:
                mixed = self._recurrent(layer, normed, next(states), spans)
            else:
                q, k, v, gate = self._projected(layer, normed)
                if kind.rotates:
                    q, k = rotate(q, *waves[kind.rope_theta]), rotate(k, *waves[kind.rope_theta])
                if growth:
                    q = q * (1 + growth * torch.log1p(intervals)).to(self.dtype)[:, None, None]
                scoring = Scoring(self.config.score_scale, kind.window, self.config.score_cap, layer.sinks)
                mixed = attention(q, k, v, *next(caches), scoring).flatten(1)
                mixed = mixed if gate is None else mixed * torch.sigmoid(gate)
            x = x + _normed(layer.o(mixed), layer.attention_norm, eps) * scale
            x = x + _normed(self._mlp(layer, _normed(x, layer.post_norm, eps), choices), layer.mlp_norm, eps) * scale
        return x

    def _recurrent(self, layer: Layer, x: Tensor, states: Tensor, spans: tuple[BatchSpan, ...]) -> Tensor:
        """Return the mixed inputs of a recurrent layer, before the output matrix."""
        delta = self.config.recurrence
        assert layer.convolution is not None
        if not isinstance(delta, DeltaNet):
            b, c, value = layer.qkv(x).chunk(3, dim=-1)
            return c * short_convolution(b * value, layer.convolution, states, spans).to(x.dtype)
        qkv, gate = torch.split(layer.qkv(x), [delta.channels, delta.values], dim=-1)
        assert layer.beta is not None
        assert layer.alpha is not None
        assert layer.decay is not None
        assert layer.decay_bias is not None
        assert layer.mixing_norm is not None
        rise = F.softplus(F.linear(x, layer.alpha).float() + layer.decay_bias.float())
        inputs = DeltaInputs(qkv, torch.sigmoid(F.linear(x, layer.beta)).float(), layer.decay.float() * rise)
        mixed = delta_net(delta, inputs, layer.convolution, states, spans).to(x.dtype)
        normed = rms_norm(mixed, layer.mixing_norm, self.config.rms_norm_eps).flatten(1)
        return (normed * F.silu(gate.float())).to(x.dtype)

    def _mlp(self, layer: Layer, x: Tensor, choices: list[tuple[Tensor, Tensor]]) -> Tensor:
        experts = self.config.experts
        if experts is None:
            return layer.down(self._gated(layer.gate_up(x)))
        assert layer.router is not None
        scores = layer.router(x).softmax(-1, dtype=torch.float32)  # (T, experts)
        weights, chosen = scores.topk(experts.active, dim=-1)
        if experts.normalized:
            weights = weights / weights.sum(-1, keepdim=True)
        choices.append((chosen, weights))
        inputs = layer.gate_up.weight.view(2, experts.count, -1, x.shape[1])  # (2, experts, width, hidden)
        outputs = layer.down.weight.view(experts.count, x.shape[1], -1)  # (experts, hidden, width)
        biases = [
            None if each.bias is None else each.bias.view(parts, experts.count, -1)
            for each, parts in ((layer.gate_up, 2), (layer.down, 1))
        ]
        total = torch.zeros_like(x)
        for expert in sorted(set(chosen.flatten().tolist())):
            tokens, place = torch.where(chosen == expert)
            first, second = (None if bias is None else bias[:, expert].flatten() for bias in biases)
            gated = self._gated(F.linear(x[tokens], inputs[:, expert].flatten(0, 1), first))
            added = F.linear(gated, outputs[expert], second) * weights[tokens, place, None].to(x.dtype)
            total.index_add_(0, tokens, added)
        return total

    def _gated(self, both: Tensor) -> Tensor:
        gate, up = both.chunk(2, dim=-1)
        if self.config.gate == "limited":
            gate, up = gate.clamp(max=7.0), up.clamp(-7.0, 7.0)
            return gate * torch.sigmoid(1.702 * gate) * (up + 1)
        return (F.gelu(gate, approximate="tanh") if self.config.gate == "gelu" else F.silu(gate)) * up

    def _projected(self, layer: Layer, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return queries (T, heads, head_dim), keys and values (T, kv_heads, head_dim), and gates.

        The gates are (T, heads * head_dim), or None if attention has no gates.
        """
        c = self.config
        widths = [count * c.head_dim for count in (c.heads, c.kv_heads, c.kv_heads, c.heads * c.gates_attention)]
        q, k, v, gate = torch.split(layer.qkv(x), widths, dim=1)
        if c.norms_projections:
            q, k = _normed(q, layer.q_norm, c.rms_norm_eps), _normed(k, layer.k_norm, c.rms_norm_eps)
        q, k, v = (part.reshape(len(x), -1, c.head_dim) for part in (q, k, v))
        if not c.norms_projections:
            q, k = _normed(q, layer.q_norm, c.rms_norm_eps), _normed(k, layer.k_norm, c.rms_norm_eps)
        return q, k, v, gate if c.gates_attention else None


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Apply RMSNorm over the last dimension in float32 (Zhang and Sennrich, arXiv 1910.07467)."""
    wide = x.float()
    return weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype)


def _normed(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    return x if weight is None else rms_norm(x, weight, eps)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the first dimensions of x (T, heads, head_dim), half-split (arXiv 2104.09864)."""
    width = cos.shape[-1]
    rotated, kept = x[..., :width], x[..., width:]
    first, second = rotated.chunk(2, dim=-1)
    turned = rotated * cos + torch.cat((-second, first), dim=-1) * sin
    return torch.cat((turned, kept), dim=-1) if kept.shape[-1] else turned


class RotaryTensors:
    """Cosines and sines (positions, rotary_width), shared by a decoder and its adapted copies.

    The tables cover the longest cache: tables for the whole context could take gigabytes.
    """

    def __init__(self, config: DecoderConfig, device: torch.device, dtype: torch.dtype) -> None:
        self._config = config
        self._device = device
        self._dtype = dtype
        self._positions = 0
        self.tables: Mapping[float | None, Sequence[Tensor]] = {}
        """By ``LayerKind.rope_theta``."""

    def cover(self, positions: int) -> None:
        if self._positions < positions:
            self.tables = {theta: self._tensors(positions, theta) for theta in self._config.rope_thetas}
            self._positions = positions

    def _tensors(self, positions: int, theta: float | None) -> Sequence[Tensor]:
        tables = rotary_tables(self._config, positions, theta)
        return [torch.from_numpy(table).to(self._device, self._dtype) for table in tables]
