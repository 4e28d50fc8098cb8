"""One flat batch per step; hidden states become scores and next tokens."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.engine.masked_row import mask_row
from pellucid.engine.model import Batch, BatchSpan, Interrupt, KVStorage, Model
from pellucid.engine.native.native_decoder import NativeDecoder
from pellucid.engine.request import ConstraintError
from pellucid.engine.sampler import MOST_PROBABLE, score_rows, token_scores
from pellucid.engine.scheduler import PrefillChunk
from pellucid.engine.sequence import HiddenSum, Sequence
from pellucid.engine.token_scores import Choice, TokenScore
from pellucid.vocabulary.token import GrammarScore

LOGIT_ROWS = 32
"""Rows of logits held at once: 20 MB for rows of 152,000 float32 logits."""

Result = tuple[Sequence, TokenScore | HiddenSum | Exception]

logger = logging.getLogger(__name__)


class LogitRow(NamedTuple):
    """A row of logits for the token after ``position``."""

    chunk: PrefillChunk
    position: int


class Runner:
    def __init__(self, model: Model, storage: KVStorage) -> None:
        self.model = model
        self.storage = storage
        self.device = model.cache_shape.device
        native = model.kernels if isinstance(model, NativeDecoder) else None
        self._score_rows = score_rows if native is None else native.score_rows
        self._mask_row = mask_row if native is None else native.mask_row
        # With a native model, torch's second thread makes a decode step a third slower (two cores).
        self._torch_threads = 1 if model.brings_threads else torch.get_num_threads()

    @torch.inference_mode()
    def run(self, chunks: list[PrefillChunk], interrupt: Interrupt | None = None) -> list[Result]:
        """Run the chunks; return prompt scores and next tokens, or pooled sums, per sequence.

        The sequence's sampler draws the next token, and the caller appends the token; if drawing
        fails, the result is the error. While drawn tokens equal guessed tokens, more tokens follow.
        Raises InterruptedStepError before any draw if ``interrupt`` is set.
        """
        if torch.get_num_threads() != self._torch_threads:
            torch.set_num_threads(self._torch_threads)
        hidden, results = self._pool(self.model.forward(self._batch(chunks, interrupt), self.storage), chunks)
        rows = [
            LogitRow(chunk, position)
            for chunk in chunks
            if not chunk.sequence.request.pool
            for position in chunk.wanted
        ]
        diverged: set[Sequence] = set()
        for first in range(0, len(rows), LOGIT_ROWS):
            logits = self.model.logits(hidden[first : first + LOGIT_ROWS])
            results += self._score(logits, rows[first : first + LOGIT_ROWS], diverged)
        return results

    def _pool(self, hidden: Tensor, chunks: list[PrefillChunk]) -> tuple[Tensor, list[Result]]:
        """Return the hidden states for logits, and the pooled sums."""
        if not any(chunk.sequence.request.pool for chunk in chunks):
            return hidden, []
        parts = list(zip(chunks, torch.split(hidden, [len(chunk.wanted) for chunk in chunks]), strict=True))
        pooled = [(chunk.sequence, part) for chunk, part in parts if chunk.sequence.request.pool]
        rest = [part for chunk, part in parts if not chunk.sequence.request.pool]
        # Float32 sums would depend on the chunks.
        sums: list[Result] = [(sequence, HiddenSum(part.double().sum(0).cpu())) for sequence, part in pooled]
        return torch.cat(rest) if rest else hidden[:0], sums

    def _batch(self, chunks: list[PrefillChunk], interrupt: Interrupt | None) -> Batch:
        ids: list[int] = []
        positions: list[int] = []
        spans: list[BatchSpan] = []
        rows: list[int] = []
        for chunk in chunks:
            assert chunk.sequence.slot is not None
            rows += [len(ids) + position - chunk.start for position in chunk.wanted]
            spans.append(BatchSpan(chunk.sequence.slot, chunk.start, len(chunk.ids), len(ids)))
            positions += range(chunk.start, chunk.start + len(chunk.ids))
            ids += chunk.ids
        return Batch(self._tensor(ids), self._tensor(positions), tuple(spans), self._tensor(rows), interrupt)

    def _tensor(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self.device)

    def _score(self, logits: Tensor, rows: list[LogitRow], diverged: set[Sequence]) -> list[Result]:
        """Score the token after each row's position by ``logits`` (rows, vocab).

        ``diverged`` holds sequences with a rejected guess or a failed sampler: later rows are
        ignored.
        """
        failures: list[Result] = []
        scored: list[int] = []
        choices: list[Choice | None] = []  # None: a prompt token.
        ids: list[int] = []
        skipped = set(diverged)
        for index, (chunk, position) in enumerate(rows):
            sequence, choice = chunk.sequence, None
            if sequence in skipped:
                continue
            if position + 1 < len(sequence.ids):
                id = sequence.ids[position + 1]
            elif sequence.sampler.takes_argmax:
                id, choice = MOST_PROBABLE, Choice(MOST_PROBABLE, 1.0)
            else:
                try:
                    choice = sequence.sampler.choose(logits[index], self._mask_row)
                except Exception as error:
                    # A constraint is foreign code: a failure must affect only its own request.
                    if not isinstance(error, ConstraintError):
                        logger.exception("a sampler failed")
                    failures.append((sequence, error))
                    skipped.add(sequence)
                    continue
                id = choice.id
                if not _as_guessed(chunk, position, id):
                    skipped.add(sequence)
            scored.append(index)
            ids.append(id)
            choices.append(choice)
        kept = [rows[index] for index in scored]
        top = max((chunk.sequence.request.params.top_logprobs for chunk, _ in kept), default=0)
        kept_logits = logits if len(scored) == len(rows) else logits[scored]
        scores = token_scores(
            self._score_rows(kept_logits, self._tensor(ids), top), [position + 1 for _, position in kept]
        )
        results: list[Result] = []
        for (chunk, position), score, choice in zip(kept, scores, choices, strict=True):
            if chunk.sequence not in diverged:
                results.append((chunk.sequence, _completed(score, chunk.sequence.request.params.top_logprobs, choice)))
                if not _as_guessed(chunk, position, score.id):
                    diverged.add(chunk.sequence)
        diverged |= skipped
        return results + failures


def _as_guessed(chunk: PrefillChunk, position: int, id: int) -> bool:
    """Return whether ``id`` after ``position`` is the token assumed by the computed rows."""
    index = position + 1 - chunk.end
    return index < 0 or (index < len(chunk.guess) and chunk.guess[index] == id)


def _completed(score: TokenScore, top: int, choice: Choice | None) -> TokenScore:
    """Return the score with the choice's fields and the requested number of alternatives.

    A batch computes the maximum number. If a constraint hides refused tokens, the alternatives are
    the allowed tokens.
    """
    if choice is None:
        return _trimmed(score, top)
    if choice.limits is None:
        return replace(_trimmed(score, top), sampled=choice.sampled)
    assert score.logprob is not None
    limits, logprob = choice.limits, score.logprob
    mass = math.exp(min(logprob - limits.logprob, 0.0))
    if limits.top is None:
        grammar = GrammarScore(mass, limits.size, limits.logprob)
        return replace(_trimmed(score, top), sampled=choice.sampled, grammar=grammar)
    shown = tuple((id, min(relative + logprob, 0.0)) for id, relative in limits.top)
    rest = max(1.0 - math.fsum(math.exp(logprob) for _, logprob in shown), 0.0)
    return replace(score, top=shown, rest=rest, sampled=choice.sampled, allowed=mass)


def _trimmed(score: TokenScore, top: int) -> TokenScore:
    if top >= len(score.top):
        return score
    rest = score.rest + sum(math.exp(logprob) for _, logprob in score.top[top:])
    return replace(score, top=score.top[:top], rest=min(rest, 1.0))
