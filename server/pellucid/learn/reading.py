"""What a model makes of a text, token by token: each token once, with as much before it as the window allows.

The sums are what perplexity, bits per byte and the rest are made of; they are of tokens and bytes, never means of files' means.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import PellucidError
from pellucid.learn.metrics import calibration_error
from pellucid.system.progress import Progress
from pellucid.tokens import Finish, FinishReason, ScoreQuery, Token

TOP = 5
"""Among so many first choices a token is looked for beside the very first."""


class Reader(Protocol):
    """What reading needs of an assistant, here or at the other end of HTTP."""

    def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        """Read token ids."""
        ...

    async def token_ids(self, text: str, *, model: str | None = None) -> list[int]:
        """The ids of a text, the BOS in front where the model wants one."""
        ...


@dataclass(frozen=True, slots=True)
class TextReading:
    """The tokens of a text that something stands before, as arrays (n,).

    ``logprobs`` are in nats, ``ranks`` count from 1, ``sizes`` are in bytes, and ``confidences`` are the probabilities of the
    model's first choice at each place.
    """

    logprobs: NDArray[np.float64]
    ranks: NDArray[np.int64]
    sizes: NDArray[np.int64]
    confidences: NDArray[np.float64]

    @classmethod
    def of(cls, tokens: Iterable[Token]) -> TextReading:
        """Of tokens that were scored with one alternative or more; those that nothing stands before are left out."""
        scored = [token for token in tokens if token.logprob is not None and token.rank is not None]
        return cls(
            np.array([token.logprob for token in scored], dtype=np.float64),
            np.array([token.rank for token in scored], dtype=np.int64),
            np.array([len(token.bytes) for token in scored], dtype=np.int64),
            np.exp([token.top[0].logprob for token in scored]),
        )

    @classmethod
    def together(cls, readings: Sequence[TextReading]) -> TextReading:
        """The tokens of several texts. Needs one."""
        fields = ("logprobs", "ranks", "sizes", "confidences")
        return cls(*(np.concatenate([getattr(reading, name) for reading in readings]) for name in fields))

    @property
    def tokens(self) -> int:
        """How many there are."""
        return len(self.logprobs)

    @property
    def bytes(self) -> int:
        """Bytes of UTF-8 of all of them."""
        return int(self.sizes.sum())

    @property
    def bits(self) -> float:
        """What it takes to tell them, in bits."""
        return -float(self.logprobs.sum()) / math.log(2)

    @property
    def bits_per_byte(self) -> float:
        """Bits by bytes: the only one of these that holds across tokenizers."""
        return self.bits / self.bytes

    @property
    def perplexity(self) -> float:
        """The exponential of the mean of -logprob: of a token of this model's tokenizer."""
        return math.exp(-float(self.logprobs.mean()))

    @property
    def first_choices(self) -> float:
        """The share of tokens that were the model's first choice."""
        return float((self.ranks == 1).mean())

    @property
    def top_choices(self) -> float:
        """The share of tokens that were among its first ``TOP``."""
        return float((self.ranks <= TOP).mean())

    @property
    def calibration_error(self) -> float:
        """The expected calibration error of its first choices, ten bins of equal width."""
        return calibration_error(self.confidences, self.ranks == 1)


@dataclass(frozen=True, slots=True)
class ReadingWindow:
    """Tokens from ``begin`` to ``end`` that are read together, the last ``counted`` of which count."""

    begin: int
    end: int
    counted: int


def windows(length: int, window: int, stride: int | None = None) -> Iterator[ReadingWindow]:
    """Windows of at most ``window`` tokens over a text of ``length``, so that each token counts once: see :func:`read`."""
    step = stride or max(window // 2, 1)
    assert 0 < step < window, "something stands before what counts"
    read_until = 0
    while read_until < length:
        end = min(length, window if not read_until else read_until + step)
        yield ReadingWindow(max(0, end - window), end, end - read_until)
        read_until = end


async def read(
    reader: Reader, text: str, *, window: int, model: str | None = None, stride: int | None = None, progress: Progress | None = None
) -> TextReading:
    """Read a text in windows of ``window`` tokens, of which the last ``stride`` (by default half) count, in the first one all.

    Each token is so read once with ``window - stride`` tokens or more before it, but for those at the beginning; the very first
    counts where a BOS stands before it. ``progress`` advances by tokens. Raises a PellucidError where reading breaks off.
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
                raise PellucidError(item.error or f"The reading was broken off ({item.reason}): start it again.")
    assert len(tokens) == len(ids), "every token is read"
    return tokens
