"""Slow n-gram models, written straight from the formulas, as references for the fast models."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pellucid.engine.decoders.byte_window_model import BYTES, NEVER, VOCABULARY
from pellucid.learn.train.ngram_trainer import discounts


class SlowKneserNey:
    """Interpolated modified Kneser-Ney with dictionaries, as in Chen and Goodman 1999."""

    def __init__(self, texts: Sequence[bytes], order: int) -> None:
        self.order = order
        self._found: dict[bytes, Tensor] = {}
        self.counts: list[dict[bytes, Counter[int]]] = []
        for length in range(order):
            seen: set[tuple[int | None, bytes]] = set()
            counted: Counter[bytes] = Counter()
            for text in texts:
                for begin in range(len(text) - length):
                    run = text[begin : begin + length + 1]
                    if length == order - 1:
                        counted[run] += 1
                    else:
                        seen.add((text[begin - 1] if begin else None, run))
            counted.update(run for _, run in seen)
            behind: dict[bytes, Counter[int]] = defaultdict(Counter)
            for run, count in counted.items():
                behind[run[:-1]][run[-1]] = count
            self.counts.append(behind)
        self.taken = [
            discounts(np.array([count for counter in behind.values() for count in counter.values()])).tolist()
            for behind in self.counts
        ]

    def probability(self, history: bytes, byte: int) -> float:
        """Return the probability of a byte after a history of any length."""
        return self._probability(history[max(len(history) - self.order + 1, 0) :], byte)

    def logprobs(self, history: bytes) -> Tensor:
        """Return the logprobs of all bytes after a history, (256,) float32."""
        context = history[max(len(history) - self.order + 1, 0) :]
        if context not in self._found:
            found = torch.tensor([self._probability(context, byte) for byte in range(BYTES)], dtype=torch.float64)
            self._found[context] = found.log().float()
        return self._found[context]

    def _probability(self, context: bytes, byte: int) -> float:
        shorter = 1 / BYTES if not context else self._probability(context[1:], byte)
        counter = self.counts[len(context)].get(context)
        if counter is None:
            return shorter
        taken, total = self.taken[len(context)], sum(counter.values())
        gone = sum(taken[min(count, 3)] for count in counter.values())
        own = counter[byte] - taken[min(counter[byte], 3)] if byte in counter else 0.0
        return float((own + gone * shorter) / total)


def history_of(ids: Sequence[int]) -> bytes:
    """Return the bytes after the last marker."""
    markers = [index for index, id in enumerate(ids) if id >= BYTES]
    return bytes(ids[markers[-1] + 1 if markers else 0 :])


def slow_logprobs(model: SlowKneserNey, ids: Sequence[int]) -> Tensor:
    """Return log-probabilities (len(ids), 257) after each id."""
    out = torch.full((len(ids), VOCABULARY), NEVER)
    for index in range(len(ids)):
        out[index, :BYTES] = model.logprobs(history_of(ids[: index + 1]))
    return out
