"""Computes the figures of one comparison of a batch: how far the other columns are from the first, and how sure each is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from pellucid.tokens import Token
from pellucid_webui.inspection.alignment import first_difference
from pellucid_webui.inspection.compared_places import ComparedPlaces
from pellucid_webui.inspection.comparison import REFERENCE, Comparison
from pellucid_webui.inspection.comparison_summary import agreement, default_view, mean_divergence, token_index


@dataclass(frozen=True, slots=True)
class PairFigures:
    """A column compared with the first one.

    ``difference`` is the number of the first column's token, counted from 1, at which the answers
    differ; None if they are equal. ``kl_low`` and ``kl_high`` bound the mean KL divergence from the
    first column to this one at the tokens of the first one's answer, in bits per token.
    ``same_tokens`` is the share of both answers' tokens that both have at the same place, and
    ``same_choice`` the share of the first one's tokens where both find the same token most likely.
    None is unknown.
    """

    difference: int | None
    kl_low: float | None
    kl_high: float | None
    same_tokens: float | None
    same_choice: float | None


@dataclass(frozen=True, slots=True)
class ColumnFigures:
    """A column: the tokens of its answer, their mean surprisal in bits, and the bits per byte of the reference. None is unknown."""

    tokens: int
    surprisal: float | None
    reference: float | None


@dataclass(frozen=True, slots=True)
class RowFigures:
    """The figures of a comparison: of each column after the first, and of all columns."""

    pairs: tuple[PairFigures, ...]
    columns: tuple[ColumnFigures, ...]


def figures_of(comparison: Comparison) -> RowFigures:
    """Return the figures of a comparison that has ended."""
    places = ComparedPlaces(comparison)
    numbers = range(len(comparison.columns))
    return RowFigures(tuple(_pair(places, at) for at in numbers[1:]), tuple(_column(comparison, at) for at in numbers))


def _pair(places: ComparedPlaces, other: int) -> PairFigures:
    first, second = places.columns[0], places.columns[other]
    at = first_difference(first.text, second.text)
    kl = mean_divergence(places, 0, other, default_view(places.comparison))
    return PairFigures(
        difference=None if at is None else token_index(first.tokens, at) + 1,
        kl_low=None if kl is None else kl.low,
        kl_high=None if kl is None else kl.high,
        same_tokens=_same_tokens(places, other),
        same_choice=agreement(places, 0, other),
    )


def _same_tokens(places: ComparedPlaces, other: int) -> float | None:
    differences = places.differences(0, other)
    same = count = 0
    for column, ranges in ((0, [one.a for one in differences]), (other, [one.b for one in differences])):
        start, at = 0, 0
        for token in places.columns[column].tokens:
            end = start + len(token.text)
            while at < len(ranges) and ranges[at][1] <= start:
                at += 1
            same += at == len(ranges) or ranges[at][0] >= end
            count, start = count + 1, end
    return same / count if count else None


def _column(comparison: Comparison, at: int) -> ColumnFigures:
    tokens = comparison.columns[at].tokens
    bits = _bits(tokens)
    reference = next((text for text in comparison.texts if text.name == REFERENCE), None)
    read = None if reference is None else _bits(reference.tokens.get(at, ()))
    size = 0 if reference is None else len(reference.text.encode())
    return ColumnFigures(
        len(tokens), None if bits is None else bits / len(tokens), None if read is None else read / size
    )


def _bits(tokens: Sequence[Token]) -> float | None:
    """Return the total bits of tokens; None if there are none, or one has no logprob."""
    known = [token.logprob for token in tokens if token.logprob is not None]
    return -sum(known) / log(2) if known and len(known) == len(tokens) else None
