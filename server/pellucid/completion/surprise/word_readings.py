"""The model's probability for each word of the code, from the tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pellucid.completion.surprise.code_lexer import CodeWord, Kind
from pellucid.vocabulary.token import Token


@dataclass(frozen=True, slots=True)
class WordReading:
    """A word, its logprob, and its least probable token at offset ``at``.

    ``is_new``: a name without an earlier occurrence.
    """

    word: CodeWord
    logprob: float
    token: Token
    at: int
    is_new: bool

    @property
    def surprise(self) -> float:
        """The least probable token's surprisal minus the entropy, in nats."""
        return -(self.token.logprob or 0.0) - (self.token.entropy_estimate or 0.0)


def word_readings(words: Sequence[CodeWord], tokens: Iterable[Token], begin: int = 0) -> list[WordReading]:
    """Return the readings of words. ``tokens`` join to the text from offset ``begin``.

    A token in several words, such as `` -x``, counts for the first name or number, else for the
    first word.
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
