"""Flat batches made by hand, to be scored like separate texts."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from pellucid.engine.model import Batch, BatchSpan, KVStorage, Model

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
    """Return a storage full of NaN, which exposes reads of unwritten values."""
    shape = model.cache_shape
    size = (slots, shape.kv_heads, capacity, shape.head_dim)

    def layers() -> list[Tensor]:
        return [torch.full(size, float("nan"), dtype=shape.dtype, device=shape.device) for _ in range(shape.layers)]

    return KVStorage(layers(), layers())


def run_parts(model: Model, kv: KVStorage, parts: Iterable[Part]) -> list[Tensor]:
    """Run parts of sequences in a flat batch, and return logprobs (len(ids), vocab) each."""
    ids: list[int] = []
    positions: list[int] = []
    spans: list[BatchSpan] = []
    for slot, start, tokens in parts:
        spans.append(BatchSpan(slot, start, len(tokens), len(ids)))
        positions += range(start, start + len(tokens))
        ids += tokens
    device = model.cache_shape.device
    batch = Batch(
        torch.tensor(ids, device=device),
        torch.tensor(positions, device=device),
        tuple(spans),
        torch.arange(len(ids), device=device),
    )
    logprobs = model.logits(model.forward(batch, kv)).log_softmax(-1).cpu()
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
    for tensor in (*kv.keys, *kv.values):
        tensor[target, :, :length] = tensor[source, :, :length]
