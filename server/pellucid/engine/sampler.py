"""Sampling: the model's own distribution is scored first, then transformed and drawn from."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from collections.abc import Sequence as IdSequence

import numpy as np

from pellucid.engine.masked_row import MaskedRow, log_sum_exp, mask_row
from pellucid.engine.model import Indices, Logprobs
from pellucid.engine.request import Constraint
from pellucid.engine.token_scores import Choice, Limits, RowScores, TokenScore
from pellucid.vocabulary.query import SamplingParams

_BLOCK = 512  # Tokens.

MaskRow = Callable[..., MaskedRow]
"""See :meth:`pellucid.engine.model.Logits.mask_row`."""


def token_scores(rows: RowScores, positions: IdSequence[int]) -> list[TokenScore]:
    """Return the scores of tokens at ``positions``, with alternatives and the remaining mass."""
    scores = []
    for id, position, logprob, rank, entropy, top_ids, top_logprobs in zip(
        rows.ids, positions, rows.logprobs, rows.ranks, rows.entropies, rows.top_ids, rows.top_logprobs, strict=True
    ):
        rest = max(1.0 - math.fsum(map(math.exp, top_logprobs)), 0.0)
        scores.append(
            TokenScore(id, position, logprob, rank, entropy, tuple(zip(top_ids, top_logprobs, strict=True)), rest)
        )
    return scores


class Sampler:
    """The sampler of one request; ``prompt`` counts for the repetition penalty."""

    def __init__(self, params: SamplingParams, prompt: IdSequence[int], constraint: Constraint | None) -> None:
        self.params = params
        self._constraint = constraint
        self._seen = {id for id in prompt if id >= 0} if params.repetition_penalty != 1.0 else set()
        self._counting = bool(params.presence_penalty or params.frequency_penalty)
        self._counts: dict[int, int] = {}
        self._random = np.random.default_rng(secrets.randbits(63) if params.seed is None else params.seed)

    @property
    def takes_argmax(self) -> bool:
        """True if the next token is always the argmax of the raw logits."""
        adjusts = self._seen or self._counts or self.params.logit_bias or self._constraint is not None
        return (
            self.params.temperature == 0
            and not adjusts
            and not self._counting
            and self.params.repetition_penalty == 1.0
        )

    def forced(self) -> list[int]:
        return [] if self._constraint is None else self._constraint.forced()

    def choose(self, logits: Logprobs, mask_row: MaskRow = mask_row) -> Choice:
        """Return the next token by raw float32 ``logits`` (vocab,)."""
        allowed = self._constraint.allowed() if self._constraint is not None else None
        adjusted = self._adjust(logits)
        if allowed is None:
            return self._chosen(*self._take(adjusted))
        assert self._constraint is not None
        draws = self.params.temperature != 0
        masked = raw = mask_row(logits, allowed, keep=draws or self._constraint.hides_refused)
        if adjusted is not logits:
            masked = mask_row(adjusted, allowed, keep=draws)
        id, probability = masked.best, 1.0
        if draws:
            assert masked.logits is not None
            id, probability = self._take(masked.logits)
        return self._chosen(id, probability, self._limits(raw, float(logits[id])))

    def _take(self, adjusted: Logprobs) -> tuple[int, float]:
        if self.params.temperature == 0:
            return int(adjusted.argmax()), 1.0
        return self._draw(adjusted / np.float32(self.params.temperature))

    def _limits(self, raw: MaskedRow, chosen: float) -> Limits:
        assert self._constraint is not None
        top = None
        if self._constraint.hides_refused:
            assert raw.logits is not None
            ids = most_probable(raw.logits, min(self.params.top_logprobs, raw.size))
            top = tuple(zip(ids.tolist(), (raw.logits[ids].astype(np.float64) - chosen).tolist(), strict=True))
        return Limits(raw.size, min(chosen - raw.total, 0.0), top)

    def _chosen(self, id: int, probability: float, limits: Limits | None = None) -> Choice:
        self._note(id)
        return Choice(id, probability, limits)

    def _note(self, id: int) -> None:
        if self._counting:
            self._counts[id] = self._counts.get(id, 0) + 1
        if self.params.repetition_penalty != 1.0:
            self._seen.add(id)
        if self._constraint is not None:
            self._constraint.advance(id)

    def _adjust(self, logits: Logprobs) -> Logprobs:
        params = self.params
        adjusted = logits.copy() if self._seen or self._counts or params.logit_bias else logits
        if self._seen:
            ids, penalty = sorted(self._seen), np.float32(params.repetition_penalty)
            seen = adjusted[ids]
            adjusted[ids] = np.where(seen > 0, seen / penalty, seen * penalty)
        if self._counts:
            counts = np.fromiter(self._counts.values(), np.float32)
            adjusted[list(self._counts)] -= (
                np.float32(params.presence_penalty) + np.float32(params.frequency_penalty) * counts
            )
        if params.logit_bias:
            adjusted[list(params.logit_bias)] += np.fromiter(params.logit_bias.values(), np.float32)
        return adjusted

    def _draw(self, logits: Logprobs) -> tuple[int, float]:
        """Truncate, renormalise and draw by the inverse of the cumulative distribution."""
        ids, weights = truncate(logits, self.params.top_k, self.params.top_p, self.params.min_p)
        # Sums of blocks come first: a cumulative sum over a vocabulary takes ten times as long.
        sums = np.add.reduceat(weights, np.arange(0, len(weights), _BLOCK), dtype=np.float64).cumsum()
        point = self._random.random() * sums[-1]
        block = min(int(np.searchsorted(sums, point, side="right")), len(sums) - 1)
        inside = weights[block * _BLOCK : (block + 1) * _BLOCK].astype(np.float64).cumsum()
        inside += sums[block - 1] if block else 0.0
        index = block * _BLOCK + min(int(np.searchsorted(inside, point, side="right")), len(inside) - 1)
        id = index if ids is None else int(ids[index])
        return id, float(weights[index] / sums[-1])


def truncate(logits: Logprobs, top_k: int, top_p: float, min_p: float) -> tuple[Indices | None, Logprobs]:
    """Return the ids that survive top-k, then top-p, then min-p, with unnormalised probabilities.

    Survivors of ``logits`` (vocab,) are sorted by probability; ids are None for the whole
    vocabulary in order. top-p: Holtzman et al. 2019, arXiv 1904.09751. min-p is relative to the
    highest probability: Nguyen et al. 2024, arXiv 2407.01082.
    """
    vocab = len(logits)
    if not top_k and top_p == 1.0 and min_p == 0.0:
        shifted = logits - logits.max()
        return None, np.exp(shifted, out=shifted)
    if top_k or top_p == 1.0:
        likely = vocab if top_k else _count_likely(logits, min_p)
        ids = most_probable(logits, min(top_k or likely, vocab))
        probabilities = np.exp(logits[ids] - logits[ids[0]])
        probabilities /= probabilities.sum()
    else:
        ids, probabilities = _nucleus_candidates(logits, top_p)
    before = probabilities.astype(np.float64).cumsum() - probabilities
    keep = (before < top_p) & (probabilities >= min_p * probabilities[0])
    keep[0] = True  # Rounding must not drop the most probable token.
    return ids[keep], probabilities[keep]


def _count_likely(logits: Logprobs, min_p: float) -> int:
    """Return a number of tokens that includes every token of at least ``min_p``."""
    return int(np.count_nonzero(logits >= logits.max() + math.log(min_p) - 1e-3))


def most_probable(logits: Logprobs, count: int) -> Indices:
    """Return the ids of the largest logits, largest first; of equal logits, the lower id first."""
    first = len(logits) - count
    ids = np.sort(np.argpartition(logits, first)[first:]) if 0 < count < len(logits) else np.arange(count)
    return ids[np.argsort(-logits[ids], kind="stable")]


def _nucleus_candidates(logits: Logprobs, top_p: float) -> tuple[Indices, Logprobs]:
    """Return the most probable ids with mass ``top_p``: a full sort costs ten times more."""
    normalizer = log_sum_exp(logits)
    count = 256
    while True:
        ids = most_probable(logits, min(count, len(logits)))
        probabilities = np.exp(logits[ids] - np.float32(normalizer))
        if count >= len(logits) or probabilities.sum(dtype=np.float64) >= top_p:
            return ids, probabilities
        count *= 8
