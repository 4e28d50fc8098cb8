"""Runs what the scheduler chose: chunks become one flat batch, its hidden states become scores and next tokens."""

from __future__ import annotations

import logging
import math

import torch
from torch import Tensor

from pellucid.engine.model import Batch, BatchSpan, KVStorage, Model
from pellucid.engine.native.native_decoder import NativeDecoder
from pellucid.engine.request import TokenScore
from pellucid.engine.sampler import MOST_PROBABLE, describe, describe_by_torch
from pellucid.engine.scheduler import PrefillChunk
from pellucid.engine.sequence import Sequence

ROWS = 32
"""Rows of logits held at once: with 152,000 float32 logits a row, 20 MB."""


Result = tuple[Sequence, TokenScore | Exception]

logger = logging.getLogger(__name__)


class Runner:
    """One model and the KV storage that it works in."""

    def __init__(self, model: Model, storage: KVStorage) -> None:
        self.model = model
        self.storage = storage
        self.device = model.cache_shape.device
        self._figures = model.kernels.describe if isinstance(model, NativeDecoder) else describe_by_torch
        # Measured on two cores: beside a native model, torch's second thread costs a decode step a third of its time.
        self._torch_threads = 1 if model.brings_threads else torch.get_num_threads()

    @torch.inference_mode()
    def run(self, chunks: list[PrefillChunk]) -> list[Result]:
        """Run the chunks and give, in order for each sequence, the scored prompt tokens and the next token.

        The next token is drawn by the sequence's own sampler, and the caller appends it; where that fails, the error stands
        in its place. Where it is the one that was guessed, the one after it follows, and so on.
        """
        if torch.get_num_threads() != self._torch_threads:
            torch.set_num_threads(self._torch_threads)
        wanted = [(chunk, position) for chunk in chunks for position in chunk.wanted]
        hidden = self.model.forward(self._batch(chunks), self.storage)
        parted: set[Sequence] = set()
        results: list[Result] = []
        for first in range(0, len(wanted), ROWS):
            logits = self.model.logits(hidden[first : first + ROWS])
            results += self._read(logits, wanted[first : first + ROWS], parted)
        return results

    def _batch(self, chunks: list[PrefillChunk]) -> Batch:
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
        return Batch(self._tensor(ids), self._tensor(positions), tuple(spans), self._tensor(rows))

    def _tensor(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self.device)

    def _read(self, logits: Tensor, block: list[tuple[PrefillChunk, int]], parted: set[Sequence]) -> list[Result]:
        """Scores of the tokens that follow each (chunk, position) of a block of logits (rows, vocab).

        ``parted`` are the sequences whose guess has proved wrong: the rows after that speak of a text that is none.
        """
        failures: list[Result] = []
        rows: list[int] = []
        ids: list[int] = []
        drawn: list[float | None] = []
        astray = set(parted)
        for row, (chunk, position) in enumerate(block):
            sequence, probability = chunk.sequence, None
            if sequence in astray:
                continue
            if position + 1 < len(sequence.ids):
                id = sequence.ids[position + 1]
            elif sequence.sampler.takes_the_best:
                id, probability = MOST_PROBABLE, 1.0
            else:
                try:
                    id, probability = sequence.sampler.choose(logits[row])
                except Exception as error:
                    # A constraint is foreign code: its failure must cost its own request only.
                    logger.exception("a sampler failed")
                    failures.append((sequence, error))
                    astray.add(sequence)
                    continue
                if not _as_guessed(chunk, position, id):
                    astray.add(sequence)
            rows.append(row)
            ids.append(id)
            drawn.append(probability)
        kept = [block[row] for row in rows]
        top = max((chunk.sequence.request.params.top_logprobs for chunk, _ in kept), default=0)
        read = logits if len(rows) == len(block) else logits[rows]
        scores = describe(self._figures(read, self._tensor(ids), top), [position + 1 for _, position in kept])
        results: list[Result] = []
        for (chunk, position), score, probability in zip(kept, scores, drawn, strict=True):
            if chunk.sequence not in parted:
                results.append((chunk.sequence, _with(score, chunk.sequence.request.params.top_logprobs, probability)))
                if not _as_guessed(chunk, position, score.id):
                    parted.add(chunk.sequence)
        parted |= astray
        return results + failures


def _as_guessed(chunk: PrefillChunk, position: int, id: int) -> bool:
    """Whether the token behind a position is the one whose successor was computed too."""
    index = position + 1 - chunk.end
    return index < 0 or (index < len(chunk.guess) and chunk.guess[index] == id)


def _with(score: TokenScore, top: int, sampled: float | None) -> TokenScore:
    """The score with as many alternatives as its own request asked for (a batch computes the most of all)."""
    alternatives, rest = score.top, score.rest
    if top < len(alternatives):
        rest += sum(math.exp(logprob) for _, logprob in alternatives[top:])
        alternatives = alternatives[:top]
    return TokenScore(score.id, score.position, score.logprob, score.rank, score.entropy, alternatives, min(rest, 1.0), sampled)
