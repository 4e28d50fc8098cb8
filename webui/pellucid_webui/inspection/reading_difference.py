"""Comparison of two models' readings of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any

from pellucid.vocabulary.token import Token
from pellucid_webui.inspection.alignment import Segment, align
from pellucid_webui.inspection.reading_figures import ReadingFigures

EQUAL_BITS = 0.005
"""Smaller differences per token or byte count as equal."""


@dataclass(frozen=True, slots=True)
class ReadingDifference:
    """The bits that the second model saves: positive where the second model is less surprised.

    Attributes:
        tokens: The bits saved on the segment of each token of the first model; None where a model
            has no probability.
        lines: The sum for each line, by line number.
        segments: The minimal pieces between token borders of both models.
        places: The index of the segment of each token of the first model.
    """

    first: ReadingFigures
    second: ReadingFigures
    tokens: tuple[float | None, ...]
    lines: dict[int, float]
    segments: tuple[Segment, ...] = ()
    places: tuple[int, ...] = ()

    @property
    def shares_tokens(self) -> bool:
        """True if both models split the text into the same tokens."""
        return [token.bytes for token in self.first.tokens] == [token.bytes for token in self.second.tokens]

    def summary(self) -> str:
        saved = sum(self.lines.values())
        if self.shares_tokens:
            share, unit = _ratio(saved, sum(token.logprob is not None for token in self.first.tokens)), "bits per token"
        else:
            share, unit = _ratio(saved, self.first.bytes), "bits per byte"
        direction = "as" if abs(share) < EQUAL_BITS else "less" if share > 0 else "more"
        than = (
            f"as surprising as {self.first.model} does"
            if direction == "as"
            else f"{direction} surprising than {self.first.model} does"
        )
        verdict = f"Bits saved by {self.second.model}: {signed(share, 2)} {unit}, so it finds this text {than}."
        if not self.lines:
            return verdict
        number, bits = max(self.lines.items(), key=lambda line: abs(line[1]))
        return f"{verdict} The largest difference is line {number}: {signed(bits, 1)} bits."

    def figures(self, start: int, end: int) -> list[list[Any] | None]:
        """Return both models' figures for the segments of a range of tokens.

        Each entry is [bits, second bits, tokens, second tokens, second rank, second entropy bounds
        in nats, text], or None without a probability. Rank and entropy need a single token. The
        text is empty if both models have a single token.
        """
        return [_figures(self.segments[place]) for place in self.places[start:end]]


def difference(first: ReadingFigures, second: ReadingFigures) -> ReadingDifference:
    """Compare two readings of a text. Raises ValueError if the texts differ."""
    numbers = iter(first.line_numbers())
    tokens: list[float | None] = []
    lines: dict[int, float] = {}
    segments = align(first.tokens, second.tokens)
    places: list[int] = []
    for place, segment in enumerate(segments):
        saved = saved_bits(segment)
        places += [place] * len(segment.a)
        within = [next(numbers) for _ in segment.a]
        tokens += [saved] * len(segment.a)
        if saved is not None and within:
            lines[within[0]] = lines.get(within[0], 0.0) + saved
    return ReadingDifference(first, second, tuple(tokens), lines, tuple(segments), tuple(places))


def saved_bits(segment: Segment) -> float | None:
    """Return the bits that the second model saves, or None without a probability."""
    return None if segment.log_ratio is None else -segment.log_ratio / log(2)


def common_text(first: Sequence[Token], second: Sequence[Token]) -> tuple[list[Token], list[Token]]:
    """Cut both readings at the last shared border: either may have been stopped early."""
    ends = [_ends(first), _ends(second)]
    shared = max(ends[0].keys() & ends[1].keys(), default=0)
    return list(first[: ends[0].get(shared, 0)]), list(second[: ends[1].get(shared, 0)])


def _ends(tokens: Sequence[Token]) -> dict[int, int]:
    """Return the number of tokens up to each border, by bytes."""
    found = {0: 0}
    at = 0
    for count, token in enumerate(tokens, 1):
        at += len(token.bytes)
        found[at] = count
    return found


def _ratio(value: float, count: int) -> float:
    return value / count if count else 0.0


def signed(value: float, digits: int) -> str:
    """Return a number with a sign; zero has no sign."""
    shown = f"{value:+.{digits}f}"
    return shown[1:] if float(shown) == 0 else shown.replace("-", "\u2212")


def _figures(segment: Segment) -> list[Any] | None:
    if segment.logprobs is None:
        return None
    one = segment.b[0] if len(segment.b) == 1 else None
    bits = [round(-logprob / log(2), 3) for logprob in segment.logprobs]
    text = "" if len(segment.a) == len(segment.b) == 1 else segment.text
    return [*bits, len(segment.a), len(segment.b), one and one.rank, one and _entropy_bounds(one), text]


def _entropy_bounds(token: Token) -> list[float] | None:
    known = token.entropy_range if token.entropy is None else (token.entropy, token.entropy)
    return None if known is None else [round(bound, 4) for bound in known]
