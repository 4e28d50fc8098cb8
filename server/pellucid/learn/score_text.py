"""Scores a text, each token once and with as much context as the window allows.

All figures are ratios of sums over tokens or bytes, never means of per-file means.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import PellucidError
from pellucid.learn.metrics import calibration_error
from pellucid.system.progress import Progress
from pellucid.text.score_windows import windows
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.query import ScoreQuery
from pellucid.vocabulary.token import Token

TOP = 5
"""Maximum rank of a top choice."""


class Reader(Protocol):
    def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]: ...

    async def token_ids(self, text: str, *, model: str | None = None) -> list[int]:
        """Return the token ids of a text, starting with BOS if the model needs BOS."""
        ...


@dataclass(frozen=True, slots=True)
class TextReading:
    """The tokens of a text with context, as arrays (n,).

    ``logprobs`` are in nats, ``ranks`` from 1, ``sizes`` in bytes; ``confidences`` are the
    probabilities of first choices.
    """

    logprobs: NDArray[np.float64]
    ranks: NDArray[np.int64]
    sizes: NDArray[np.int64]
    confidences: NDArray[np.float64]

    @classmethod
    def of(cls, tokens: Iterable[Token]) -> TextReading:
        """Return the reading of tokens with logprobs, scored with at least one alternative."""
        scored = [token for token in tokens if token.logprob is not None and token.rank is not None]
        return cls(
            np.array([token.logprob for token in scored], dtype=np.float64),
            np.array([token.rank for token in scored], dtype=np.int64),
            np.array([len(token.bytes) for token in scored], dtype=np.int64),
            np.exp([token.top[0].logprob for token in scored]),
        )

    @classmethod
    def together(cls, readings: Sequence[TextReading]) -> TextReading:
        fields = ("logprobs", "ranks", "sizes", "confidences")
        return cls(*(np.concatenate([getattr(reading, name) for reading in readings]) for name in fields))

    @property
    def tokens(self) -> int:
        return len(self.logprobs)

    @property
    def bytes(self) -> int:
        return int(self.sizes.sum())

    @property
    def bits(self) -> float:
        return -float(self.logprobs.sum()) / math.log(2)

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte, the only figure here that is comparable across tokenizers."""
        return self.bits / self.bytes

    @property
    def perplexity(self) -> float:
        """Exponential of the mean of -logprob, per token of this model's tokenizer."""
        return math.exp(-float(self.logprobs.mean()))

    @property
    def first_choices(self) -> float:
        return float((self.ranks == 1).mean())

    @property
    def top_choices(self) -> float:
        return float((self.ranks <= TOP).mean())

    @property
    def calibration_error(self) -> float:
        return calibration_error(self.confidences, self.ranks == 1)


async def read(
    reader: Reader,
    text: str,
    *,
    window: int,
    model: str | None = None,
    stride: int | None = None,
    progress: Progress | None = None,
) -> TextReading:
    """Score a text in windows; the last ``stride`` tokens of a window (default: half) count.

    All tokens of the first window count, except the first token without BOS. So each token is
    scored once, with at least ``window - stride`` tokens of context after the first window.
    """
    ids = await reader.token_ids(text, model=model)
    if progress is not None:
        progress.start("reading", len(ids))
    found = []
    for part in windows(len(ids), window, stride):
        tokens = await _scored(reader, ids[part.begin : part.end], model)
        found.append(TextReading.of(tokens[-part.counted :]))
        if progress is not None:
            progress.advance(part.counted)
    return TextReading.together(found)


async def _scored(reader: Reader, ids: Sequence[int], model: str | None) -> list[Token]:
    tokens: list[Token] = []
    async with aclosing(reader.score(ScoreQuery(ids, model=model, top_logprobs=1))) as items:
        async for item in items:
            if isinstance(item, Token):
                tokens.append(item)
            elif item.reason is not FinishReason.STOP:
                raise PellucidError(item.error or f"The reading was not finished ({item.reason}): start it again.")
    assert len(tokens) == len(ids), "every token is read"
    return tokens
