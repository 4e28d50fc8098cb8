"""One flat batch per step; hidden states become scores and next tokens."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.embedded_run import rows_between, stretches
from pellucid.engine.kv_cache.slot_cache import SlotCache
from pellucid.engine.model import Batch, BatchSpan, ExpertChoices, Hidden, Interrupt, Logits, Model
from pellucid.engine.request import ConstraintError
from pellucid.engine.sampler import token_scores
from pellucid.engine.scheduler import PrefillChunk
from pellucid.engine.sequence import HiddenSum, Sequence
from pellucid.engine.token_scores import MOST_PROBABLE, Choice, TokenScore
from pellucid.vocabulary.token import GrammarScore

LOGIT_ROWS = 32
"""Rows of logits held at once: 20 MB for rows of 152,000 float32 logits."""

Result = tuple[Sequence, TokenScore | HiddenSum | Exception]

logger = logging.getLogger(__name__)


class LogitRow(NamedTuple):
    """A row of hidden states, with logits for the token after ``position``."""

    chunk: PrefillChunk
    position: int
    at: int


class Runner:
    def __init__(self, model: Model, cache: SlotCache) -> None:
        self.model = model
        self.cache = cache

    def run(self, chunks: list[PrefillChunk], interrupt: Interrupt | None = None) -> list[Result]:
        """Run the chunks; return prompt scores and next tokens, or pooled sums, per sequence.

        The sequence's sampler draws the next token, and the caller appends the token; if drawing
        fails, the result is the error. While drawn tokens equal guessed tokens, more tokens follow.
        Raises InterruptedStepError before any draw if ``interrupt`` is set.
        """
        wants_experts = any(chunk.sequence.request.params.experts for chunk in chunks)
        choices = ExpertChoices() if wants_experts and self.model.reports_experts else None
        hidden = self.model.forward(self._batch(chunks, interrupt, choices), self.cache.storage)
        results: list[Result] = []
        rows: list[LogitRow] = []
        at = 0
        for chunk in chunks:
            end = at + len(chunk.wanted)
            if chunk.sequence.request.pool:
                results.append((chunk.sequence, HiddenSum(self.model.sum_hidden(hidden[at:end]))))
            else:
                rows += [LogitRow(chunk, position, at + i) for i, position in enumerate(chunk.wanted)]
            at = end
        diverged: set[Sequence] = set()
        for first in range(0, len(rows), LOGIT_ROWS):
            part = rows[first : first + LOGIT_ROWS]
            results += self._score(self.model.logits(_rows(hidden, part)), part, diverged, choices)
        return results

    def _batch(self, chunks: list[PrefillChunk], interrupt: Interrupt | None, choices: ExpertChoices | None) -> Batch:
        ids: list[int] = []
        positions: list[int] = []
        embedded: list[NDArray[np.float32]] = []
        spans: list[BatchSpan] = []
        rows: list[int] = []
        self.cache.begin_step()
        for chunk in chunks:
            rows += [len(ids) + position - chunk.start for position in chunk.wanted]
            spans += self._spans(chunk, len(ids))
            positions += range(chunk.start, chunk.last)
            embedded += rows_between(chunk.sequence.request.embedded, chunk.start, chunk.end)
            ids += chunk.ids
        ids_, positions_, rows_ = (np.asarray(values, np.int64) for values in (ids, positions, rows))
        batch = Batch(ids_, positions_, tuple(spans), rows_, interrupt, choices)
        if any(chunk.sequence.axes is not None for chunk in chunks):
            axes = np.concatenate([chunk.sequence.axes_between(chunk.start, chunk.last) for chunk in chunks])
            batch = replace(batch, axes=axes)
        if not embedded:
            return batch
        given = ids_ < 0
        ids_[given] = -1 - np.arange(given.sum())
        return replace(batch, embedded=np.concatenate(embedded))

    def _spans(self, chunk: PrefillChunk, offset: int) -> Iterator[BatchSpan]:
        """Yield the spans of a chunk; with states, a span ends where a state is kept."""
        slot, start, states = chunk.sequence.slot, chunk.start, self.cache.states
        assert slot is not None
        if states is None:
            for begin, end, whole in stretches(chunk.sequence.request.embedded, start, chunk.last):
                yield BatchSpan(slot, begin, end - begin, offset + begin - start, whole=whole)
            return
        assert not any(run.whole for run in chunk.sequence.request.embedded), "a recurrent layer sees no later tokens"
        ends = [chunk.end, chunk.last] if chunk.guess else [chunk.end]
        for end, before, after in states.stretches(slot, start, ends, len(chunk.sequence.prompt)):
            yield BatchSpan(slot, start, end - start, offset, before, after)
            start, offset = end, offset + end - start

    def _score(
        self, logits: Logits, rows: list[LogitRow], diverged: set[Sequence], choices: ExpertChoices | None
    ) -> list[Result]:
        """Score the token after each row's position by ``logits`` (rows, vocab).

        ``diverged`` holds sequences with a rejected guess or a failed sampler: later rows are
        ignored.
        """
        failures: list[Result] = []
        scored: list[int] = []
        drawn: list[Choice | None] = []  # None: a prompt token.
        ids: list[int] = []
        skipped = set(diverged)
        for index, (chunk, position, _) in enumerate(rows):
            sequence, choice = chunk.sequence, None
            if sequence in skipped:
                continue
            if position + 1 < len(sequence.ids):
                id = sequence.ids[position + 1]
                if id < 0:  # Only tokens of the vocabulary have a probability.
                    continue
            elif sequence.sampler.takes_argmax:
                id, choice = MOST_PROBABLE, Choice(MOST_PROBABLE, 1.0)
            else:
                try:
                    choice = sequence.sampler.choose(logits.row(index), logits.mask_row)
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
            drawn.append(choice)
        kept = [rows[index] for index in scored]
        top = max((row.chunk.sequence.request.params.top_logprobs for row in kept), default=0)
        positions = [row.position + 1 for row in kept]
        scores = token_scores(logits.score(scored, ids, top), positions) if kept else []
        results: list[Result] = []
        for (chunk, position, at), score, choice in zip(kept, scores, drawn, strict=True):
            params = chunk.sequence.request.params
            if chunk.sequence not in diverged:
                completed = _completed(score, params.top_logprobs, choice)
                if choices is not None and params.experts:
                    completed = replace(completed, experts=choices.of(at))
                results.append((chunk.sequence, completed))
                if not _as_guessed(chunk, position, score.id):
                    diverged.add(chunk.sequence)
        diverged |= skipped
        return results + failures


def _rows(hidden: Hidden, rows: list[LogitRow]) -> Hidden:
    first, last = rows[0].at, rows[-1].at
    return hidden[first : last + 1] if last - first == len(rows) - 1 else hidden[[row.at for row in rows]]


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
