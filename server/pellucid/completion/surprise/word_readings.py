"""Turns the tokens that a model read into its opinion of each word of the code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pellucid.completion.surprise.code_words import CodeWord, Kind
from pellucid.tokens import Token


@dataclass(frozen=True, slots=True)
class WordReading:
    """A word, the log probability of all its tokens together, and the least probable of them, which begins at ``at``.

    ``is_new``: it is a name that is nowhere before it.
    """

    word: CodeWord
    logprob: float
    token: Token
    at: int
    is_new: bool

    @property
    def surprise(self) -> float:
        """The surprisal of the least probable token beyond what was to be expected there, in nats."""
        return -(self.token.logprob or 0.0) - (self.token.entropy_estimate or 0.0)


def word_readings(words: Sequence[CodeWord], tokens: Iterable[Token], begin: int = 0) -> list[WordReading]:
    """Return the readings of words. ``tokens`` join to the text from offset ``begin`` on.

    A token that belongs to several words, such as `` -x``, counts for the first name or number
    among them, else for the first one.
    """
    parts: dict[int, list[tuple[int, Token]]] = {}
    at, first = begin, 0
    for token in tokens:
        end = at + len(token.text)
        while first < len(words) and words[first].end <= at:
            first += 1
        inside = [index for index in range(first, min(first + len(token.text), len(words))) if words[index].begin < end]
        if inside and token.logprob is not None:
            parts.setdefault(min(inside, key=lambda index: (words[index].kind is Kind.OPERATOR, index)), []).append(
                (at, token)
            )
        at = end
    found, known = [], set[str]()
    for index, word in enumerate(words):
        if read := parts.get(index):
            where, least = min(read, key=lambda part: part[1].logprob or 0.0)
            logprob = sum(token.logprob or 0.0 for _, token in read)
            found.append(WordReading(word, logprob, least, where, word.kind is Kind.NAME and word.text not in known))
        known.add(word.text)
    return found
