"""Figures of a comparison in a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from pellucid.vocabulary.token import Token
from pellucid_webui.inspection.alignment import first_difference
from pellucid_webui.inspection.compared_places import ComparedPlaces
from pellucid_webui.inspection.comparison import REFERENCE, Comparison
from pellucid_webui.inspection.comparison_summary import agreement, default_view, mean_divergence, token_index


@dataclass(frozen=True, slots=True)
class PairFigures:
    """The comparison of a column with the first column. None means unknown.

    Attributes:
        difference_place: The number of the first column's token, from 1, at which the answers
            differ; None for equal answers.
        kl_bits_low, kl_bits_high: Bounds of the mean KL divergence from the first column to this
            column, at the tokens of the first answer, in bits per token.
        same_tokens: The share of both answers' tokens that are equal at the same place.
        same_choice: The share of the first answer's tokens at which both columns have the same most
            likely token.
    """

    difference_place: int | None
    kl_bits_low: float | None
    kl_bits_high: float | None
    same_tokens: float | None
    same_choice: float | None


@dataclass(frozen=True, slots=True)
class ColumnFigures:
    """The length and the surprisal of the answer; the surprisal of the reference."""

    tokens: int
    mean_surprisal_bits: float | None
    reference_bits_per_byte: float | None


@dataclass(frozen=True, slots=True)
class RowFigures:
    pairs: tuple[PairFigures, ...]
    columns: tuple[ColumnFigures, ...]


def figures_of(comparison: Comparison) -> RowFigures:
    places = ComparedPlaces(comparison)
    numbers = range(len(comparison.columns))
    return RowFigures(tuple(_pair(places, at) for at in numbers[1:]), tuple(_column(comparison, at) for at in numbers))


def _pair(places: ComparedPlaces, other: int) -> PairFigures:
    first, second = places.columns[0], places.columns[other]
    at = first_difference(first.text, second.text)
    kl = mean_divergence(places, 0, other, default_view(places.comparison))
    return PairFigures(
        difference_place=None if at is None else token_index(first.tokens, at) + 1,
        kl_bits_low=None if kl is None else kl.low,
        kl_bits_high=None if kl is None else kl.high,
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
    known = [token.logprob for token in tokens if token.logprob is not None]
    return -sum(known) / log(2) if known and len(known) == len(tokens) else None
