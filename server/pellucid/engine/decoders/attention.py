"""Attention of a flat batch over the KV cache; sequences do not see each other.

``attend`` runs sequence by sequence. ``attend_rows`` runs one token of each of several sequences at
once, with shapes independent of positions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.engine.decoders.decode_graphs import DecodeRows
from pellucid.engine.model import BatchSpan


def store(keys: Tensor, values: Tensor, k: Tensor, v: Tensor, spans: tuple[BatchSpan, ...]) -> None:
    """Write keys and values (T, kv_heads, head_dim) of a flat batch into one layer's storage."""
    for span in spans:
        rows = slice(span.offset, span.offset + span.count)
        keys[span.slot, :, span.start : span.end] = k[rows].transpose(0, 1)
        values[span.slot, :, span.start : span.end] = v[rows].transpose(0, 1)


class Scoring(NamedTuple):
    """The computation of scores, and of the softmax, from products of queries and keys.

    ``scale`` multiplies the products. ``window`` is the number of visible positions, including the
    query's own. ``softcap`` limits the scores. ``sinks`` (heads,) are one more score in the sum of
    each head's softmax, without a value.
    """

    scale: float
    window: int | None = None
    softcap: float = 0.0
    sinks: Tensor | None = None


def attend(q: Tensor, keys: Tensor, values: Tensor, spans: tuple[BatchSpan, ...], scoring: Scoring) -> Tensor:
    """Attend from queries (T, heads, head_dim) to one layer's storage.

    A token sees earlier tokens, and all tokens of a ``whole`` span. The storage is (slots,
    kv_heads, capacity, head_dim). Returns (T, heads, head_dim of the values).
    """
    out = q.new_empty(*q.shape[:2], values.shape[-1])
    for span in spans:
        rows, kept = slice(span.offset, span.offset + span.count), (span.slot, slice(None), slice(span.end))
        out[rows] = _attend_one(q[rows], keys[kept], values[kept], span, scoring)
    return out


def store_rows(keys: Tensor, values: Tensor, k: Tensor, v: Tensor, rows: DecodeRows) -> None:
    """Write one token per sequence: keys and values (R, kv_heads, head_dim) of one layer."""
    keys[rows.slots, :, rows.positions] = k
    values[rows.slots, :, rows.positions] = v


def attend_rows(q: Tensor, keys: Tensor, values: Tensor, rows: DecodeRows, scoring: Scoring) -> Tensor:
    """Attend like :func:`attend` for one token per sequence. Returns (R, heads, head_dim)."""
    count, heads, dim = q.shape
    position = torch.arange(rows.length, device=q.device)
    visible = position <= rows.positions[:, None]
    if scoring.window is not None:
        visible &= position > rows.positions[:, None] - scoring.window
    # Beyond a text, the storage may hold NaN: the weight is 0, but 0 times NaN is NaN.
    k, v = (kept[rows.slots, :, : rows.length].masked_fill(~visible[:, None, :, None], 0.0) for kept in (keys, values))
    folded = q.view(count, k.shape[1], heads // k.shape[1], dim)
    sinks = None if scoring.sinks is None else scoring.sinks.view(k.shape[1], -1)
    return _mixed(folded, k, v, visible[:, None, None], scoring, sinks).reshape(count, heads, -1)


def capped(x: Tensor, cap: float) -> Tensor:
    """Return numbers smoothly limited to -cap and cap (Gemma 2, arXiv 2408.00118)."""
    return cap * torch.tanh(x / cap)


def _attend_one(q: Tensor, k: Tensor, v: Tensor, span: BatchSpan, scoring: Scoring) -> Tensor:
    count, heads, dim = q.shape
    kv_heads, window, sinks = k.shape[0], scoring.window, scoring.sinks
    if window is not None and span.end > window:
        first = max(0, span.start + 1 - window)  # Skip keys invisible to the oldest query.
        k, v = k[:, first:], v[:, first:]
    else:
        first = 0
    # Query heads with a common key head are folded into rows, so no key is repeated: (kv_heads,
    # group * count, dim).
    folded = q.transpose(0, 1).reshape(kv_heads, heads // kv_heads * count, dim)
    mask = None
    if count > 1 or (window is not None and span.end - first > window):
        mask = _visible(span, first, window, q.device).repeat(heads // kv_heads, 1)
    if sinks is not None:
        sinks = sinks.view(kv_heads, -1, 1).expand(-1, -1, count).flatten(1)
    out = _mixed(folded[None], k[None], v[None], mask, scoring, sinks)[0]
    return out.reshape(heads, count, -1).transpose(0, 1)


def _mixed(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scoring: Scoring, sinks: Tensor | None) -> Tensor:
    """Mix values; ``sinks`` (kv_heads, rows of q)."""
    if not scoring.softcap and sinks is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scoring.scale)
    scores = torch.matmul(q.float(), k.float().transpose(-1, -2)) * scoring.scale
    if scoring.softcap:
        scores = capped(scores, scoring.softcap)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    if sinks is not None:
        scores = torch.cat((scores, sinks.float().expand(scores.shape[:-1])[..., None]), dim=-1)
    return torch.matmul(scores.softmax(-1)[..., : k.shape[-2]].to(v.dtype), v)


def _visible(span: BatchSpan, first: int, window: int | None, device: torch.device) -> Tensor:
    """Return the keys visible to each query of a span: (count, end - first) bool."""
    query = torch.arange(span.start, span.end, device=device)[:, None]
    key = torch.arange(first, span.end, device=device)[None, :]
    visible = key <= query
    if window is not None:
        visible &= key > query - window
    return visible | (key >= span.start) if span.whole else visible
