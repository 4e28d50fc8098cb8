"""Mixing by recurrence over a flat batch: short convolutions and gated delta nets.

A state (buffers, size) holds what a text before a span left behind. A span continues from its
``state_from`` and leaves ``state_to``; a later span of the batch may continue from there.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.engine.decoders.decoder_config import DeltaNet
from pellucid.engine.model import NO_STATE, BatchSpan

_CHUNK = 64
"""Tokens of the delta rule that are computed at once: larger triangular systems cost more."""


class DeltaInputs(NamedTuple):
    """The inputs of a delta net for T tokens.

    ``qkv`` (T, channels) are queries, keys and values before the convolution; ``beta`` and
    ``log_decay`` (T, value_heads) are float32.
    """

    qkv: Tensor
    beta: Tensor
    log_decay: Tensor


def convolve(x: Tensor, weight: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """Convolve x (T, channels) float32 causally by ``weight`` (channels, taps).

    ``last`` (taps - 1, channels) are the inputs before x. Returns the output (T, channels), and the
    last inputs.
    """
    inputs = torch.cat((last, x))
    out = F.conv1d(inputs.T[None], weight.float()[:, None], groups=x.shape[1])[0].T
    return out, inputs[len(x) :]


def short_convolution(x: Tensor, weight: Tensor, states: Tensor, spans: tuple[BatchSpan, ...]) -> Tensor:
    """Convolve x (T, channels) of all spans. Returns (T, channels) float32."""
    out = x.new_empty(x.shape, dtype=torch.float32)
    for span in spans:
        rows = slice(span.offset, span.offset + span.count)
        last = _state(states, span).view(-1, x.shape[1])
        out[rows], last = convolve(x[rows].float(), weight, last)
        states[span.state_to] = last.flatten()
    return out


def delta_net(
    delta: DeltaNet, inputs: DeltaInputs, weight: Tensor, states: Tensor, spans: tuple[BatchSpan, ...]
) -> Tensor:
    """Mix all spans; ``weight`` (channels, taps). Returns (T, value_heads, value_dim) float32."""
    out = inputs.beta.new_empty(len(inputs.beta), delta.value_heads, delta.value_dim)
    for span in spans:
        rows = slice(span.offset, span.offset + span.count)
        kept = _state(states, span)
        last, state = torch.split(kept, [(delta.taps - 1) * delta.channels, delta.values * delta.key_dim])
        convolved, last = convolve(inputs.qkv[rows].float(), weight, last.view(-1, delta.channels))
        q, k, v = _heads(delta, F.silu(convolved))
        state = state.view(delta.value_heads, delta.key_dim, delta.value_dim)
        beta, log_decay = inputs.beta[rows].T, inputs.log_decay[rows].T
        for first in range(0, span.count, _CHUNK):
            part = slice(first, min(first + _CHUNK, span.count))
            mixed, state = _delta_rule(q[:, part], k[:, part], v[:, part], beta[:, part], log_decay[:, part], state)
            out[span.offset + part.start : span.offset + part.stop] = mixed.transpose(0, 1)
        states[span.state_to] = torch.cat((last.flatten(), state.flatten()))
    return out


def _state(states: Tensor, span: BatchSpan) -> Tensor:
    return torch.zeros_like(states[0]) if span.state_from == NO_STATE else states[span.state_from]


def _heads(delta: DeltaNet, convolved: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values (value_heads, T, dim); queries and keys have length 1."""
    q, k, v = torch.split(convolved, [delta.keys, delta.keys, delta.values], dim=1)
    q, k = (_unit(part.view(len(part), delta.key_heads, -1)) for part in (q, k))
    repeats = delta.value_heads // delta.key_heads
    q, k = (part.repeat(1, repeats, 1) if delta.tiled else part.repeat_interleave(repeats, 1) for part in (q, k))
    q = q * delta.key_dim**-0.5
    return q.transpose(0, 1), k.transpose(0, 1), v.reshape(len(v), delta.value_heads, -1).transpose(0, 1)


def _unit(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)


def _delta_rule(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Apply the gated delta rule to a chunk of T tokens; return outputs and the new state.

    Queries, keys and values are (heads, T, dim), ``beta`` and ``log_decay`` (heads, T). For each
    token in turn: S = S * exp(log_decay); S = S + beta * k (v - k S); the output is q S. Within the
    chunk, the corrections beta * (v - k S) of all tokens solve a triangular system (Yang et al.
    2024, arXiv 2412.06464, section 3.3).
    """
    total = log_decay.cumsum(1)
    between = (total[:, :, None] - total[:, None, :]).tril().exp().tril()  # Decay from column to row.
    since = total.exp()[..., None]
    scaled = k * beta[..., None]
    system = (scaled @ k.transpose(1, 2) * between).tril(-1)
    right = v * beta[..., None] - scaled * since @ state
    u = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
    out = q * since @ state + (q @ k.transpose(1, 2) * between) @ u
    left = (total[:, -1:] - total).exp()[..., None]
    return out, state * since[:, -1:] + (k * left).transpose(1, 2) @ u
