"""The same places in different answers, with the columns' distributions."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import inf, log

from pellucid.vocabulary.token import Token
from pellucid_webui.inspection.alignment import align
from pellucid_webui.inspection.comparison import Comparison
from pellucid_webui.inspection.model_divergence import Bounds, KnownChoice, choice_of, divergence
from pellucid_webui.inspection.word_diff import TextDifference, differences

OWN, SAMPLED = "own", "sampled"
"""Distributions of the model itself, and at the column's temperature."""


@dataclass(frozen=True, slots=True)
class PlaceView:
    """Another column's view of a token, in nats.

    ``ratio`` bounds the log ratio of the two columns for the token's segment. ``kl`` bounds
    KL(answer's column || other column); None where the other column has no token border.
    """

    ratio: Bounds | None
    kl: Bounds | None


@dataclass(frozen=True, slots=True)
class ComparedPlace:
    """A token of an answer, seen by another column.

    ``token`` is the other column's token at the place. ``segment`` is the range of tokens between
    borders shared by both tokenizers.
    """

    token: int | None
    segment: tuple[int, int]
    views: Mapping[str, PlaceView]


class ComparedPlaces:
    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.columns = comparison.columns
        self._links: dict[tuple[int, int], list[ComparedPlace]] = {}
        self._differences: dict[tuple[int, int], list[TextDifference]] = {}

    @cached_property
    def same_vocabulary(self) -> frozenset[tuple[int, int]]:
        """Pairs of columns with the same model, or with consistent ids and spellings."""
        numbers = range(len(self.columns))
        spellings = [self._spellings(at) for at in numbers]
        models = [column.settings.model for column in self.columns]
        return frozenset(
            (a, b) for a in numbers for b in numbers if models[a] == models[b] or _agree(spellings[a], spellings[b])
        )

    def links(self, text: int, column: int) -> list[ComparedPlace]:
        """Return the places of an answer for another column; empty if not scored."""
        if (text, column) not in self._links:
            self._links[text, column] = self._linked(text, column)
        return self._links[text, column]

    def differences(self, a: int, b: int) -> list[TextDifference]:
        if a > b:
            return [TextDifference(one.b, one.a) for one in self.differences(b, a)]
        if (a, b) not in self._differences:
            self._differences[a, b] = differences(self.columns[a].text, self.columns[b].text)
        return self._differences[a, b]

    def linked_ranges(self, a: int, b: int) -> list[tuple[int, int]]:
        """Return the token range in b's answer for each token of a's answer."""
        found = []
        tokens, start = self.columns[b].tokens, 0
        ends = list(accumulate(len(token.text) for token in tokens))
        apart = self.differences(a, b)
        for token in self.columns[a].tokens:
            end = start + len(token.text)
            first, last = _mapped(start, apart)[0], _mapped(max(end - 1, start), apart)[1]
            found.append(_range(ends, (first, last)))
            start = end
        return found

    def apart(self, column: int) -> list[tuple[int, int]]:
        """Return the token ranges of an answer with a difference from any answer."""
        ends = list(accumulate(len(token.text) for token in self.columns[column].tokens))
        ranges = [
            _range(ends, one.a)
            for other in range(len(self.columns))
            if other != column
            for one in self.differences(column, other)
        ]
        return sorted({one for one in ranges if one[0] < one[1]})

    def choice(self, column: int, token: Token, view: str, *, by_id: bool = True) -> KnownChoice | None:
        return choice_of(token, 1.0 if view == OWN else self.columns[column].settings.temperature, by_id=by_id)

    def _spellings(self, column: int) -> dict[int, bytes]:
        texts = [text.tokens.get(column, []) for text in self.comparison.texts]
        tokens = [token for found in texts for token in found]
        return {token.id: token.bytes for token in tokens} | {
            one.id: one.bytes for token in tokens for one in token.top
        }

    def _linked(self, text: int, column: int) -> list[ComparedPlace]:
        compared = self.comparison.texts[text]
        own, other = compared.tokens[text], compared.tokens.get(column)
        if other is None:
            return []
        found: list[ComparedPlace] = []
        read = 0
        for segment in align(own, other):
            whole = (len(found), len(found) + len(segment.a))
            ratios = {view: self._ratio(text, column, segment.a, segment.b, view) for view in (OWN, SAMPLED)}
            for index, token in enumerate(segment.a):
                begins = index == 0 and bool(segment.b)
                views = {
                    view: PlaceView(
                        ratios[view], self._divergence(text, column, token, segment.b[0], view) if begins else None
                    )
                    for view in (OWN, SAMPLED)
                }
                found.append(ComparedPlace(read if begins else None, whole, views))
            read += len(segment.b)
        return found

    def _divergence(self, text: int, column: int, token: Token, other: Token, view: str) -> Bounds | None:
        same = (text, column) in self.same_vocabulary
        p, q = self.choice(text, token, view, by_id=same), self.choice(column, other, view, by_id=same)
        return None if p is None or q is None else divergence(p, q, same_vocabulary=same)

    def _ratio(self, text: int, column: int, own: Sequence[Token], other: Sequence[Token], view: str) -> Bounds | None:
        a, b = self._logprob(text, own, view), self._logprob(column, other, view)
        if a is None or b is None:
            return None
        return Bounds(_less(a.low, b.high), _less(a.high, b.low))

    def _logprob(self, column: int, tokens: Sequence[Token], view: str) -> Bounds | None:
        low = high = 0.0
        for token in tokens:
            if token.logprob is None:
                return None
            if view == OWN or (found := self.choice(column, token, view)) is None:
                one = Bounds(token.logprob, token.logprob)
            else:
                probability = found.probability(token.id) if token.id in found.weights else Bounds(0.0, 0.0)
                one = Bounds(*(log(value) if value > 0 else -inf for value in (probability.low, probability.high)))
            low, high = low + one.low, high + one.high
        return Bounds(low, high)


def _agree(one: Mapping[int, bytes], other: Mapping[int, bytes]) -> bool:
    ids_one, ids_other = _by_spelling(one), _by_spelling(other)
    same_spelling = all(one[id] == other[id] for id in one.keys() & other.keys())
    return same_spelling and not any(
        ids_one[spelling].isdisjoint(ids_other[spelling]) for spelling in ids_one.keys() & ids_other.keys()
    )


def _by_spelling(spellings: Mapping[int, bytes]) -> dict[bytes, set[int]]:
    """Return ids by spelling, except the empty spelling of special tokens."""
    found: dict[bytes, set[int]] = {}
    for id, spelling in spellings.items():
        if spelling:
            found.setdefault(spelling, set()).add(id)
    return found


def _less(a: float, b: float) -> float:
    """Return a - b, or 0 if both are impossible."""
    return 0.0 if a == b == -inf else a - b


def _mapped(at: int, apart: Sequence[TextDifference]) -> tuple[int, int]:
    """Return the character range in the second text at a character of the first."""
    shift = 0
    for difference in apart:
        if at < difference.a[0]:
            break
        if at < difference.a[1]:
            return difference.b
        shift = difference.b[1] - difference.a[1]
    return at + shift, at + shift + 1


def _range(ends: Sequence[int], characters: tuple[int, int]) -> tuple[int, int]:
    """Return the token range of a character range."""
    start, end = characters
    first = bisect_right(ends, start)
    return (first, first) if start >= end else (first, min(bisect_left(ends, end) + 1, len(ends)))
