"""What a text is to a model: perplexity, bits per byte, ranks and entropies, and the lines that surprise it most."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any

from pellucid.tokens import Token
from pellucid_webui.conversations.compact_tokens import record
from pellucid_webui.inspection.comparison import perplexity

RANK_BINS = (10, 100, 1000)
"""The ranks up to which GLTR has its colours: green, yellow and red; what is above is purple (Gehrmann et al. 2019, arXiv 1906.04043)."""

ENTROPY_STEP = 0.5
"""Width of a bar of the histogram of entropies, in bits."""

COLUMNS = ("position", "token", "bytes", "line", "probability", "logprob", "surprisal_bits", "rank", "entropy_nats", "rest", "alternatives")


@dataclass(frozen=True, slots=True)
class SurprisingLine:
    """A line of the text, counted from 1, and how much it surprises: in bits, by token on the average, and the most of one."""

    number: int
    text: str
    tokens: int
    bits: float
    most: float

    @property
    def mean(self) -> float:
        """Bits by token."""
        return self.bits / self.tokens


@dataclass(frozen=True, slots=True)
class ReadingFigures:
    """A text that was read. Tokens that follow nothing have no probability and count nowhere."""

    model: str
    tokens: tuple[Token, ...]

    @property
    def perplexity(self) -> float | None:
        """By token of this model."""
        return perplexity(self.tokens)

    @property
    def bits(self) -> float:
        """The surprisal of all of it."""
        return sum(surprisal(token) for token in self.tokens)

    @property
    def bytes(self) -> int:
        """Of the tokens that count."""
        return sum(len(token.bytes) for token in self.tokens if token.logprob is not None)

    @property
    def bits_per_byte(self) -> float | None:
        """Which can be compared between models with different tokenizers."""
        return self.bits / self.bytes if self.bytes else None

    def rank_counts(self, bins: Sequence[int] = RANK_BINS) -> list[int]:
        """How many tokens have a rank up to each border, and above the last."""
        counts = [0] * (len(bins) + 1)
        for token in self.tokens:
            if token.rank is not None:
                counts[next((index for index, most in enumerate(bins) if token.rank <= most), len(bins))] += 1
        return counts

    def entropy_counts(self) -> list[int]:
        """How many tokens were chosen at an entropy within each step of ENTROPY_STEP."""
        found = Counter(int(token.entropy / log(2) / ENTROPY_STEP) for token in self.tokens if token.entropy is not None)
        return [found[step] for step in range(max(found, default=-1) + 1)]

    def lines(self) -> list[SurprisingLine]:
        """The lines that have tokens, in their order; a token belongs to the line in which its first character that is no line end is."""
        groups: dict[int, list[Token]] = {}
        for token, number in zip(self.tokens, self._numbers(), strict=True):
            if token.logprob is not None:
                groups.setdefault(number, []).append(token)
        texts = "".join(token.text for token in self.tokens).split("\n")
        return [_line(number, texts[number - 1], tokens) for number, tokens in sorted(groups.items())]

    def first_tokens(self) -> dict[int, int]:
        """The first token of each line that has one, by the line's number."""
        return dict(reversed([(number, index) for index, number in enumerate(self._numbers())]))

    def csv(self) -> str:
        """A row a token."""
        out = io.StringIO(newline="")
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        for token, number in zip(self.tokens, self._numbers(), strict=True):
            alternatives = json.dumps([[one.text, one.logprob] for one in token.top], ensure_ascii=False)
            bits = None if token.logprob is None else surprisal(token)
            chance = None if token.logprob is None else probability(token)
            row = (token.position, token.text, token.bytes.hex(), number, chance, token.logprob, bits)
            writer.writerow((*row, token.rank, token.entropy, token.rest, alternatives))
        return out.getvalue()

    def json(self) -> str:
        """All of it, with its figures."""
        figures: dict[str, Any] = {
            "model": self.model,
            "perplexity": self.perplexity,
            "bits_per_byte": self.bits_per_byte,
            "bits": self.bits,
            "bytes": self.bytes,
        }
        return json.dumps(figures | {"tokens": [record(token) for token in self.tokens]}, ensure_ascii=False)

    def _numbers(self) -> list[int]:
        """The lines of the tokens."""
        found: list[int] = []
        line = 1
        for token in self.tokens:
            rest = token.text.lstrip("\r\n")
            passed = token.text.count("\n", 0, len(token.text) - len(rest))
            found.append(line + passed if rest else line)
            line += token.text.count("\n")
        return found


def surprisal(token: Token) -> float:
    """In bits; 0 for a token that follows nothing."""
    return 0.0 if token.logprob is None else -token.logprob / log(2)


def probability(token: Token) -> float:
    """Of a token; 1 for one that follows nothing."""
    return 1.0 if token.logprob is None else exp(token.logprob)


def _line(number: int, text: str, tokens: Sequence[Token]) -> SurprisingLine:
    bits = [surprisal(token) for token in tokens]
    return SurprisingLine(number, text, len(tokens), sum(bits), max(bits))
