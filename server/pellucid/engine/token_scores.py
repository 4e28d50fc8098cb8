"""The engine's scores of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pellucid.vocabulary.token import ExpertChoice, GrammarScore

MOST_PROBABLE = -1
"""Placeholder for the id of the most probable token."""


class RowScores(NamedTuple):
    """Scores of rows of logits, one list item per row."""

    ids: list[int]
    logprobs: list[float]
    ranks: list[int]
    entropies: list[float]
    top_ids: list[list[int]]
    top_logprobs: list[list[float]]


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token's place in the model's distribution; see :class:`pellucid.vocabulary.token.Token`.

    ``entropy_range`` bounds an unreported entropy. ``sampled`` is None for prompt tokens and if
    unreported. ``predicted`` is true if the request's prediction has the same token here.
    """

    id: int
    position: int
    logprob: float | None
    rank: int | None
    entropy: float | None
    top: tuple[tuple[int, float], ...] = ()
    rest: float = 1.0
    sampled: float | None = None
    allowed: float = 1.0
    grammar: GrammarScore | None = None
    entropy_range: tuple[float, float] | None = None
    experts: ExpertChoice | None = None
    predicted: bool = False


class Limits(NamedTuple):
    """The tokens that a constraint allowed.

    ``size`` is the number of allowed tokens, ``logprob`` the chosen token's logprob among allowed
    tokens. If only allowed tokens are alternatives, ``top`` holds the most probable, with logits
    relative to the chosen token's logit.
    """

    size: int
    logprob: float
    top: tuple[tuple[int, float], ...] | None


class Choice(NamedTuple):
    """A chosen token, the probability of the draw, and the limits of a constraint."""

    id: int
    sampled: float
    limits: Limits | None = None
