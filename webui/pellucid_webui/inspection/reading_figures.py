"""Figures of a scored text, such as perplexity, ranks and surprising lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any

from pellucid.vocabulary.token import Token
from pellucid_webui.inspection import token_rows
from pellucid_webui.inspection.model_divergence import perplexity

RANK_BINS = (10, 100, 1000)
"""Highest ranks of GLTR's green, yellow and red (Gehrmann et al. 2019, arXiv 1906.04043)."""

COLUMNS = (*token_rows.COLUMNS, "line")


@dataclass(frozen=True, slots=True)
class SurprisingLine:
    """A line with surprisal in bits: total and maximum (``most``).

    ``number`` counts from 1; ``first`` and ``peak`` are token indices.
    """

    number: int
    text: str
    first: int
    tokens: int
    bits: float
    most: float
    peak: int

    @property
    def mean(self) -> float:
        return self.bits / self.tokens


class ReadTokens:
    """The surprise of tokens in all; a first token without probability is not counted."""

    __slots__ = ()
    tokens: tuple[Token, ...]

    @property
    def bits(self) -> float:
        return sum(surprisal(token) for token in self.tokens)

    @property
    def bytes(self) -> int:
        """Bytes of the tokens that have a probability."""
        return sum(len(token.bytes) for token in self.tokens if token.logprob is not None)


@dataclass(frozen=True, slots=True)
class ReadingFigures(ReadTokens):
    """Figures of a scored text; a first token without probability is not counted."""

    model: str
    tokens: tuple[Token, ...]

    @property
    def perplexity(self) -> float | None:
        return perplexity(self.tokens)

    @property
    def bits_per_byte(self) -> float | None:
        """Surprisal per byte, comparable between tokenizers."""
        return self.bits / self.bytes if self.bytes else None

    def rank_counts(self, bins: Sequence[int] = RANK_BINS) -> list[int]:
        """Return token counts up to each rank border, and above the last border."""
        counts = [0] * (len(bins) + 1)
        for token in self.tokens:
            if token.rank is not None:
                counts[next((index for index, most in enumerate(bins) if token.rank <= most), len(bins))] += 1
        return counts

    def lines(self) -> list[SurprisingLine]:
        """Return the lines that have tokens.

        A token belongs to the line of the first character that is not a line end.
        """
        groups: dict[int, list[int]] = {}
        for index, number in enumerate(self.line_numbers()):
            if self.tokens[index].logprob is not None:
                groups.setdefault(number, []).append(index)
        texts = "".join(token.text for token in self.tokens).split("\n")
        return [self._line(number, texts[number - 1], indices) for number, indices in sorted(groups.items())]

    def csv(self) -> str:
        return token_rows.rows_as_csv(COLUMNS, self._rows())

    def json(self) -> str:
        figures: dict[str, Any] = {
            "model": self.model,
            "perplexity": self.perplexity,
            "bits_per_byte": self.bits_per_byte,
            "bits": self.bits,
            "bytes": self.bytes,
        }
        return json.dumps(figures | {"tokens": self._rows()}, ensure_ascii=False)

    def _rows(self) -> list[dict[str, Any]]:
        numbered = enumerate(zip(self.tokens, self.line_numbers(), strict=True), 1)
        return [token_rows.token_row(token, place) | {"line": line} for place, (token, line) in numbered]

    def _line(self, number: int, text: str, indices: Sequence[int]) -> SurprisingLine:
        bits = [surprisal(self.tokens[index]) for index in indices]
        most = max(bits)
        return SurprisingLine(number, text, indices[0], len(indices), sum(bits), most, indices[bits.index(most)])

    def line_numbers(self) -> list[int]:
        found: list[int] = []
        line = 1
        for token in self.tokens:
            rest = token.text.lstrip("\r\n")
            passed = token.text.count("\n", 0, len(token.text) - len(rest))
            found.append(line + passed if rest else line)
            line += token.text.count("\n")
        return found


def surprisal(token: Token) -> float:
    """Return the surprisal in bits; 0 without a probability."""
    return 0.0 if token.logprob is None else -token.logprob / log(2)
