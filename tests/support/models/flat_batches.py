"""Flat batches made by hand, to be scored like separate texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.engine.decoders.torch_model import TensorLogits, TensorStorage
from pellucid.engine.kv_cache.host_storage import HostStorage
from pellucid.engine.model import NO_STATE, Batch, BatchSpan, KVStorage, Logits, Model
from pellucid.engine.native.native_decoder import NativeLogits

Part = tuple[int, int, list[int]]
"""Tokens for a slot from a position on: (slot, start, ids)."""

CHUNKINGS = {
    "whole": [30],
    "one by one": [1] * 30,
    "prefill, then decode": [17, *[1] * 13],
    "prefill in chunks, then decode": [8, 8, 5, 1, 1, 7],
}
"""Ways to cut a text of 30 tokens."""


def new_storage(model: Model, slots: int = 4, capacity: int = 48) -> KVStorage:
    """Return a storage full of NaN, which exposes reads of unwritten values.

    A model with states gets a state for each slot.
    """
    if not model.cache_shape.state_size:
        kv = model.new_storage(slots, capacity)
    else:
        kv = model.new_storage(slots, capacity, states=slots)
        states_of(kv)[:] = float("nan")
    for layer in layers_of(kv):
        layer[:] = -1 if model.cache_shape.dtype == "int8" else float("nan")  # Four bytes of -1 are NaN, a row's scale.
    return kv


def states_of(kv: KVStorage) -> Any:
    """Return the states (states, state_size)."""
    assert isinstance(kv, (HostStorage, TensorStorage))
    return kv.states


def layers_of(kv: KVStorage) -> list[Any]:
    """Return the keys and the values (slots, kv_heads, capacity, head_dim) of each layer."""
    assert isinstance(kv, (HostStorage, TensorStorage))
    return [*kv.keys, *kv.values]


def tensor_of(logits: Logits) -> Tensor:
    assert isinstance(logits, (NativeLogits, TensorLogits))
    return torch.as_tensor(logits.values)


def batch_of(ids: Iterable[int], positions: Iterable[int], spans: Iterable[BatchSpan], rows: Iterable[int]) -> Batch:
    ids, positions, rows = (np.fromiter(values, np.int64) for values in (ids, positions, rows))
    return Batch(ids, positions, tuple(spans), rows)


def run_parts(model: Model, kv: KVStorage, parts: Iterable[Part]) -> list[Tensor]:
    """Run parts of sequences in a flat batch, and return logprobs (len(ids), vocab) each."""
    ids: list[int] = []
    positions: list[int] = []
    spans: list[BatchSpan] = []
    for slot, start, tokens in parts:
        states = (slot if start else NO_STATE, slot) if model.cache_shape.state_size else (NO_STATE, NO_STATE)
        spans.append(BatchSpan(slot, start, len(tokens), len(ids), *states))
        positions += range(start, start + len(tokens))
        ids += tokens
    batch = batch_of(ids, positions, spans, range(len(ids)))
    logprobs = tensor_of(model.logits(model.forward(batch, kv))).log_softmax(-1).cpu()
    return [logprobs[span.offset : span.offset + span.count] for span in spans]


def run_in_chunks(
    model: Model, kv: KVStorage, slot: int, ids: list[int], counts: Iterable[int], start: int = 0
) -> Tensor:
    """Run a text from ``start`` on in chunks, and return logprobs (len(ids) - start, vocab)."""
    out: list[Tensor] = []
    for count in counts:
        out += run_parts(model, kv, [(slot, start, ids[start : start + count])])
        start += count
    assert start == len(ids)
    return torch.cat(out)


def run_together(
    model: Model, kv: KVStorage, texts: dict[int, list[int]], counts: dict[int, list[int]]
) -> dict[int, Tensor]:
    """Run texts, by slot, in shared batches with the next count of every unfinished text."""
    done = dict.fromkeys(texts, 0)
    out: dict[int, list[Tensor]] = {slot: [] for slot in texts}
    for step in range(max(map(len, counts.values()))):
        taken = {slot: counts[slot][step] for slot in texts if step < len(counts[slot])}
        parts = [(slot, done[slot], texts[slot][done[slot] : done[slot] + count]) for slot, count in taken.items()]
        for (slot, count), logprobs in zip(taken.items(), run_parts(model, kv, parts), strict=True):
            out[slot].append(logprobs)
            done[slot] += count
    return {slot: torch.cat(pieces) for slot, pieces in out.items()}


def copy_prefix(kv: KVStorage, source: int, target: int, length: int) -> None:
    """Copy the first ``length`` positions of a slot into a second slot, in every layer."""
    kv.copy(source, target, length)
