"""Provides an assistant for any text: two models with different tokenizers and fake logprobs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from math import log
from zlib import crc32

from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ScoreQuery
from pellucid.vocabulary.token import Alternative, Token
from support.scripted_answers import usage
from support.servers.http_servers import ScriptedModels
from support.silent_assistant import SilentAssistant

WORDS, HALVES = "words", "halves"
"""Models: WORDS has words with the preceding space as tokens, HALVES has tokens of at most four
characters.
"""

_PIECES = {WORDS: re.compile(r"\n| ?\w+| ?[^\w\s]+|[^\S\n]+"), HALVES: re.compile(r"\n|[^\n]{1,4}")}
SURPRISE = "quextion"
"""A word with a low probability in the first model, and no token in the second model."""

HAZY = "hazy"
"""A word with a token in both models, and with a range as the entropy."""


def pieces(text: str, model: str = WORDS) -> list[str]:
    """Return the tokens of a text."""
    return _PIECES[model].findall(text)


def read_token(text: str, position: int, model: str = WORDS) -> Token:
    """Return a token as read by the model; a text's first token has no probability."""
    data = text.encode()
    if position == 0:
        return Token(1, text, data, 0, None, None, None)
    number = crc32(data + bytes([position % 7]))
    bits = 20.0 if SURPRISE in text else (number % 1000) / 1000 * (4.0 if model == WORDS else 1.5)
    logprob = -bits * log(2)
    rank = 1 if bits < 1 else 2 + number % 2000
    top = [Alternative(100 + at, f" other{at}", f" other{at}".encode(), -2.0 - at) for at in range(9)]
    own = [Alternative(2, text, data, logprob)]
    entropy = (number % 500) / 100
    exact, bounds = (None, (entropy, entropy + 0.5)) if HAZY in text else (entropy, None)
    return Token(2, text, data, position, logprob, rank, exact, tuple(own + top), rest=0.05, entropy_range=bounds)


@dataclass
class TextReader(SilentAssistant):
    """Reads every text with both models; ``asked`` records the texts and models.

    A reading waits at the token ``held_at``. ``running`` counts the readings in progress.
    """

    asked: list[tuple[str, str | None]] = field(default_factory=list)
    held_at: int | None = None
    running: int = 0

    @property
    def models(self) -> ScriptedModels:
        """The models as a server's assistant has them."""
        return ScriptedModels(self.scripted_cards())

    async def cards(self) -> list[ModelCard]:
        return self.scripted_cards()

    def scripted_cards(self) -> list[ModelCard]:
        return [ModelCard(name=name, context=100_000, infill=False, description="made up") for name in (WORDS, HALVES)]

    async def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        assert isinstance(query.text, str)
        self.asked.append((query.text, query.model))
        found: Sequence[str] = pieces(query.text, query.model or WORDS)
        self.running += 1
        try:
            for position, text in enumerate(found):
                while position == self.held_at:
                    await asyncio.sleep(0.01)
                yield read_token(text, position, query.model or WORDS)
        finally:
            self.running -= 1
        yield Finish(FinishReason.STOP, usage(len(found)))


def long_text(lines: int) -> str:
    """Return a text of many lines of twelve words, with a surprising word in the middle."""
    words = ("total", "value", "return", "index", "result", "count", "name", "line", "text", "token")
    found = [" ".join(words[(line * 7 + at * 3) % 10] for at in range(12)) for line in range(lines)]
    found[lines // 2] += f" {SURPRISE}"
    return "\n".join(found) + "\n"
