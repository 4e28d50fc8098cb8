"""Sampling: the model's own distribution is scored first, then transformed and drawn from."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence as IdSequence
from typing import Protocol

import torch
from torch import Tensor

from pellucid.engine.masked_row import MaskedRow, mask_row
from pellucid.engine.request import Constraint
from pellucid.engine.token_mask import TokenMask
from pellucid.engine.token_scores import Choice, Limits, RowScores, TokenScore
from pellucid.vocabulary.query import SamplingParams


class MaskRow(Protocol):
    def __call__(self, logits: Tensor, mask: TokenMask, *, keep: bool = True) -> MaskedRow:
        """Return the row restricted to ``mask``; without ``keep``, omit the logits."""
        ...


MOST_PROBABLE = -1
"""Placeholder for the id of the most probable token."""


def score_rows(logits: Tensor, ids: Tensor, top: int) -> RowScores:
    """Score tokens ``ids`` (R,), possibly MOST_PROBABLE, by raw float32 ``logits`` (R, vocab).

    Each row also gets the ``top`` most probable ids with logprobs.
    """
    ids = torch.where(ids == MOST_PROBABLE, logits.argmax(dim=-1), ids)
    normalizer = torch.logsumexp(logits, dim=-1, keepdim=True)
    chosen = logits.gather(1, ids[:, None])
    # H = -sum p log p = log Z - sum p logit
    entropies = (normalizer[:, 0] - torch.linalg.vecdot((logits - normalizer).exp_(), logits)).clamp_(min=0)
    values, indices = logits.topk(min(top, logits.shape[-1]), dim=-1)
    return RowScores(
        ids.tolist(),
        (chosen - normalizer)[:, 0].tolist(),
        ((logits > chosen).sum(dim=-1) + 1).tolist(),
        entropies.tolist(),
        indices.tolist(),
        (values - normalizer).tolist(),
    )


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
        self._seen = set(prompt) if params.repetition_penalty != 1.0 else set()
        self._counting = bool(params.presence_penalty or params.frequency_penalty)
        self._counts: dict[int, int] = {}
        self._random = torch.Generator()
        self._random.manual_seed(secrets.randbits(63) if params.seed is None else params.seed)

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

    def choose(self, logits: Tensor, mask_row: MaskRow = mask_row) -> Choice:
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

    def _take(self, adjusted: Tensor) -> tuple[int, float]:
        if self.params.temperature == 0:
            return int(adjusted.argmax()), 1.0
        return self._draw(adjusted / self.params.temperature)

    def _limits(self, raw: MaskedRow, chosen: float) -> Limits:
        assert self._constraint is not None
        top = None
        if self._constraint.hides_refused:
            assert raw.logits is not None
            values, ids = raw.logits.topk(min(self.params.top_logprobs, raw.size))
            top = tuple(zip(ids.tolist(), (values - chosen).tolist(), strict=True))
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

    def _adjust(self, logits: Tensor) -> Tensor:
        params = self.params
        adjusted = logits.clone() if self._seen or self._counts or params.logit_bias else logits
        if self._seen:
            ids = torch.tensor(sorted(self._seen), device=logits.device)
            seen = adjusted[ids]
            adjusted[ids] = torch.where(seen > 0, seen / params.repetition_penalty, seen * params.repetition_penalty)
        if self._counts:
            ids = torch.tensor(list(self._counts), device=logits.device)
            counts = torch.tensor(list(self._counts.values()), dtype=logits.dtype, device=logits.device)
            adjusted[ids] -= params.presence_penalty + params.frequency_penalty * counts
        if params.logit_bias:
            ids = torch.tensor(list(params.logit_bias), device=logits.device)
            adjusted[ids] += torch.tensor(list(params.logit_bias.values()), dtype=logits.dtype, device=logits.device)
        return adjusted

    def _draw(self, logits: Tensor) -> tuple[int, float]:
        """Truncate, renormalise and draw by the inverse of the cumulative distribution."""
        ids, weights = truncate(logits, self.params.top_k, self.params.top_p, self.params.min_p)
        cumulative = weights.double().cumsum(0)
        uniform = torch.rand((), generator=self._random, dtype=torch.float64).item()
        index = int(torch.searchsorted(cumulative, uniform * float(cumulative[-1]), right=True))
        index = min(index, len(weights) - 1)
        id = index if ids is None else int(ids[index])
        return id, float(weights[index].double() / cumulative[-1])


def truncate(logits: Tensor, top_k: int, top_p: float, min_p: float) -> tuple[Tensor | None, Tensor]:
    """Return the ids that survive top-k, then top-p, then min-p, with unnormalised probabilities.

    Survivors of ``logits`` (vocab,) are sorted by probability; ids are None for the whole
    vocabulary in order. top-p: Holtzman et al. 2019, arXiv 1904.09751. min-p is relative to the
    highest probability: Nguyen et al. 2024, arXiv 2407.01082.
    """
    vocab = len(logits)
    if not top_k and top_p == 1.0 and min_p == 0.0:
        return None, logits.softmax(0)
    if top_k or top_p == 1.0:
        values, ids = logits.topk(min(top_k or vocab, vocab))
        probabilities = values.softmax(0)
    else:
        ids, probabilities = _nucleus_candidates(logits, top_p)
    before = probabilities.double().cumsum(0) - probabilities.double()
    keep = (before < top_p) & (probabilities >= min_p * probabilities[0])
    keep[0] = True  # Rounding must not drop the most probable token.
    return ids[keep], probabilities[keep]


def _nucleus_candidates(logits: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Return the most probable ids with mass ``top_p``: a full sort costs ten times more."""
    normalizer = logits.logsumexp(0)
    count = 256
    while True:
        values, ids = logits.topk(min(count, len(logits)))
        probabilities = (values - normalizer).exp()
        if count >= len(logits) or float(probabilities.sum(dtype=torch.float64)) >= top_p:
            return ids, probabilities
        count *= 8
