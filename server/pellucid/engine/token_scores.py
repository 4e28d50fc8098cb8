"""The scores of a token that the engine returns: probability, rank, entropy of the choice, and alternatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pellucid.tokens import GrammarScore


class RowScores(NamedTuple):
    """Scores of rows of logits, one value for each row: the tokens' ids, logprobs and ranks, the entropies, the most probable ids."""

    ids: list[int]
    logprobs: list[float]
    ranks: list[int]
    entropies: list[float]
    top_ids: list[list[int]]
    top_logprobs: list[list[float]]


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token id and its place in the model's distribution.

    See :class:`pellucid.tokens.Token` for the fields.

    ``entropy_range`` bounds the entropy where the engine does not report it. ``sampled`` is None
    for a token that was read, and for one whose engine did not report it. ``predicted`` is true for
    one that the request's prediction has there, too.
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
    predicted: bool = False


class Limits(NamedTuple):
    """The tokens that a constraint allowed in place of the chosen one.

    ``size`` is their number and ``logprob`` that of the chosen token among them. ``top`` holds the
    most probable of them, with their logits relative to the chosen token's, where only these are
    alternatives; otherwise it is None.
    """

    size: int
    logprob: float
    top: tuple[tuple[int, float], ...] | None


class Choice(NamedTuple):
    """A token that a sampler chose, the probability with which it was drawn, and what a constraint left to choose from."""

    id: int
    sampled: float
    limits: Limits | None = None
