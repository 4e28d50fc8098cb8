"""Provides a scripted model with a known distribution of the next word."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, replace
from math import log

from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery, ScoreQuery
from pellucid.vocabulary.token import Alternative, Token
from support.page.storyteller import Storyteller
from support.scripted_answers import Asked, play, usage

END = "<|im_end|>"

FOLLOWING: dict[str, dict[str, float]] = {
    "": {"It": 0.6, "Can": 0.2, "Canberra": 0.1, "Sydney": 0.05},
    "It": {" is": 0.9},
    " is": {" Canberra": 0.7, " Sydney": 0.2, "\n": 0.01},
    " Canberra": {".": 1.0},
    " Sydney": {".": 1.0},
    "Can": {"berra": 0.9},
    "berra": {".": 1.0},
    "Canberra": {".": 1.0},
    "Sydney": {".": 1.0},
    "\n": {"It": 1.0},
    ".": {END: 1.0},
}
"""The probabilities of the next word after a word."""

IDS = {word: id for id, word in enumerate(sorted({*FOLLOWING, END}))}


def words_of(text: str) -> Iterator[str]:
    """Yield the words of a text, the longest possible first."""
    while text:
        word = max((word for word in FOLLOWING if word and text.startswith(word)), key=len)
        yield word
        text = text[len(word) :]


def spoken(before: str, word: str, position: int) -> Token:
    likely = FOLLOWING[before]
    top = tuple(Alternative(IDS[one], one, one.encode(), log(share)) for one, share in likely.items())
    rest, shown = max(0.0, 1 - sum(likely.values())), "" if word == END else word
    return Token(IDS[word], shown, word.encode(), position, log(likely[word]), 1, 0.5, top, rest, 1.0)


@dataclass
class ForkingTeller(Storyteller):
    """Takes the likeliest word, or says a ``script``.

    Sampled answers name the two likeliest cities in turn.
    """

    samples: int = -1
    has_experts: bool = False

    def scripted_cards(self) -> list[ModelCard]:
        return [replace(card, experts=self.has_experts) for card in super().scripted_cards()]

    async def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        self.queries.append(query)
        self.samples += query.params.temperature > 0
        said = self.script or self._said(query)
        async for item in play(said, Asked(query), on_usage=on_usage, reason=FinishReason.STOP):
            yield item

    def _said(self, query: ChatQuery) -> Iterator[Token]:
        before = [*words_of(query.messages[-1].content)] if query.continue_last else []
        for _ in range(query.params.max_tokens):
            last = before[-1] if before else ""
            word = list(FOLLOWING[last])[self.samples % 2 if last == " is" and query.params.temperature else 0]
            if word == END and not query.params.ignore_eos:
                return
            token = spoken(last, word, len(before))
            experts = (((7, 0.75), (2, 0.25)), ((len(before), 0.5), (5, 0.5)))
            yield replace(token, experts=experts) if query.params.experts else token
            before.append(word)

    async def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        """Read the continuation of an answer."""
        before = [*words_of(query.continued[-1].content)]
        words = [*words_of(str(query.text))]
        for word in words:
            yield spoken(before[-1] if before else "", word, len(before))
            before.append(word)
        yield Finish(FinishReason.STOP, usage(len(words)))

    def reset(self) -> None:
        super().reset()
        self.samples = -1
        self.has_experts = False
