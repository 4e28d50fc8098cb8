"""Compares how two models read the same text: the bits that the second one saves, for each token and line, and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from pellucid.tokens import Token
from pellucid_webui.inspection.alignment import Segment, align
from pellucid_webui.inspection.reading_figures import ReadingFigures

EQUAL_BITS = 0.005
"""Difference per token or byte below which two models find a text equally surprising."""


@dataclass(frozen=True, slots=True)
class ReadingDifference:
    """The bits that the second model saves: positive where it is less surprised than the first one.

    ``tokens`` has a value for each token of the first model: that of the shortest piece around it at whose ends both models have a
    token border; None where a model has no probability. ``lines`` has the sum of each line, by line number.
    """

    first: ReadingFigures
    second: ReadingFigures
    tokens: tuple[float | None, ...]
    lines: dict[int, float]

    @property
    def shares_tokens(self) -> bool:
        """True if both models split the text into the same tokens."""
        return [token.bytes for token in self.first.tokens] == [token.bytes for token in self.second.tokens]

    def summary(self) -> str:
        """Describe the difference in one sentence."""
        saved = sum(self.lines.values())
        if self.shares_tokens:
            share, unit = _ratio(saved, sum(token.logprob is not None for token in self.first.tokens)), "bits per token"
        else:
            share, unit = _ratio(saved, self.first.bytes), "bits per byte"
        if abs(share) < EQUAL_BITS:
            verdict = f"{self.second.model} finds this text as surprising as {self.first.model}"
        else:
            verdict = f"{self.second.model} finds this text {abs(share):.2f} {unit} {_direction(share)} surprising than {self.first.model}"
        if not self.lines:
            return f"{verdict}."
        number, bits = max(self.lines.items(), key=lambda line: abs(line[1]))
        return f"{verdict}; the largest difference is line {number} ({abs(bits):.1f} bits {_direction(bits)})."


def difference(first: ReadingFigures, second: ReadingFigures) -> ReadingDifference:
    """Compare two readings of one text, also with different tokenizers. Raises ValueError if the texts differ."""
    numbers = iter(first.line_numbers())
    tokens: list[float | None] = []
    lines: dict[int, float] = {}
    for segment in align(first.tokens, second.tokens):
        saved = saved_bits(segment)
        within = [next(numbers) for _ in segment.a]
        tokens += [saved] * len(segment.a)
        if saved is not None and within:
            lines[within[0]] = lines.get(within[0], 0.0) + saved
    return ReadingDifference(first, second, tuple(tokens), lines)


def saved_bits(segment: Segment) -> float | None:
    """Return the bits that the second model saves on a segment; None if a model has no probability for it."""
    return None if segment.log_ratio is None else -segment.log_ratio / log(2)


def common_text(first: Sequence[Token], second: Sequence[Token]) -> tuple[list[Token], list[Token]]:
    """Return the tokens of both models up to the last border that they share; one of them may have been stopped earlier."""
    ends = [_ends(first), _ends(second)]
    shared = max(ends[0].keys() & ends[1].keys(), default=0)
    return list(first[: ends[0].get(shared, 0)]), list(second[: ends[1].get(shared, 0)])


def _ends(tokens: Sequence[Token]) -> dict[int, int]:
    """Return the number of tokens up to each border, by the bytes before it."""
    found = {0: 0}
    at = 0
    for count, token in enumerate(tokens, 1):
        at += len(token.bytes)
        found[at] = count
    return found


def _ratio(value: float, count: int) -> float:
    return value / count if count else 0.0


def _direction(saved: float) -> str:
    return "less" if saved > 0 else "more"
